"""What `equal-hf index` needs to know beside what a run does (`RunArguments`): one YAML may serve both.

Every key is also a flag of the same name (`--sample_share 0.01`), which wins over the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.parse_config import parse_config
from equal_hf.corpus.embedder import DTYPES
from equal_hf.errors import ConfigError

STAGES = ("read", "sample", "extract", "align", "embed", "cluster", "assign", "write", "push")


@dataclass
class IndexArguments(RunArguments):
    """Arguments of an index. Those of [`RunArguments`] hold too: `corpus`, `embedder`, `extractor`, `target`, …

    Args:
        metadata_columns (`list[str]`, *optional*): Columns to carry along; all scalar ones where left out.
        index_dir (`str`, *optional*): Folder of the work; `<output_dir>/index` where left out. Every process must see
            it, and it is what a later revision of the dataset is indexed from.
        shard_documents (`int`, *optional*, defaults to `8192`): Documents in a piece of work: what a kill of a stage
            costs each rank at most (of reading: one file of the dataset), and what ranks share out.
        on_bad_file (`str`, *optional*, defaults to `"stop"`): What a file that cannot be read does: `"stop"`, or
            `"skip"`, which names it in manifest and card.
        align (`bool`, *optional*, defaults to `True`): Align the embedder with pairs of a sample before it embeds.
        sample_share (`float`, *optional*, defaults to `0.005`): Share of the documents whose pairs are extracted to
            align with.
        index_max_documents, index_max_prompt_tokens, index_max_completion_tokens (`int`, *optional*): Budget of that
            extraction, apart from a run's; replies in the response store count.
        index_max_cost (`float`, *optional*): The same in money.
        align_holdout (`float`, *optional*, defaults to `0.2`): Share of the sampled documents that measures.
        align_epochs (`int`, *optional*, defaults to `2`): Passes over the training pairs.
        align_learning_rate (`float`, *optional*): Where left out 1e-5 for transformers, and for
            static embedders a tenth of the root mean square of their table.
        align_batch_size (`int`, *optional*, defaults to `64`): Pairs a step, the in-batch negatives.
        align_mini_batch_size (`int`, *optional*): Pairs embedded at once, for a large `align_batch_size` in little
            memory.
        align_hard_negatives (`int`, *optional*, defaults to `3`): Hard negatives mined for each pair.
        embedder_dtype (`str`, *optional*, defaults to `"auto"`): `"float32"`, `"float16"`, `"bfloat16"`; `"auto"`:
            half precision on a GPU.
        embedder_batch_size (`int`, *optional*, defaults to `64`): Windows a forward pass.
        embedder_max_windows (`int`, *optional*, defaults to `8`): Windows embedded of a document at most.
        threads (`int`, *optional*): Threads of each process; the machine's processors shared out, 8 at most, where
            left out. Recorded: the same number gives the same bytes.
        kmeans_iterations (`int`, *optional*, defaults to `25`): Iterations of k-means.
        giant_factor (`float`, *optional*, defaults to `10.0`): Clusters of more than so many times the mean size are
            split.
        recluster (`bool`, *optional*, defaults to `False`): Train centroids anew where an earlier revision left some.
        max_shard_bytes (`int`, *optional*, defaults to `256_000_000`): Size of the published files.
        corpus_map (`bool`, *optional*, defaults to `True`): Draw the map of the clusters.
        hub_corpus_id (`str`, *optional*): Dataset repository that the corpus is pushed to: a new one, or one that
                holds an earlier corpus.
        hub_embedder_id (`str`, *optional*): Model repository that an aligned embedder is pushed to.
        hub_private (`bool`, *optional*, defaults to `True`): Whether new repositories are private.
    """

    required: ClassVar[tuple[str, ...]] = ("corpus",)

    metadata_columns: list[str] | None = field(default=None, metadata={"help": "Columns to carry along."})
    index_dir: str | None = field(default=None, metadata={"help": "Folder of the work; <output_dir>/index."})
    shard_documents: int = field(default=8192, metadata={"help": "Documents in a piece of work."})
    on_bad_file: str = field(default="stop", metadata={"help": "stop or skip.", "choices": ["stop", "skip"]})
    align: bool = field(default=True, metadata={"help": "Align the embedder before it embeds."})
    sample_share: float = field(default=0.005, metadata={"help": "Share of the documents to align with."})
    index_max_documents: int | None = field(default=None, metadata={"help": "Budget of the sample's extraction."})
    index_max_prompt_tokens: int | None = field(default=None, metadata={"help": "Budget of the sample's extraction."})
    index_max_completion_tokens: int | None = field(default=None, metadata={"help": "Budget of that extraction."})
    index_max_cost: float | None = field(default=None, metadata={"help": "Budget of that extraction, in money."})
    align_holdout: float = field(default=0.2, metadata={"help": "Share of the sample that measures."})
    align_epochs: int = field(default=2, metadata={"help": "Passes over the training pairs."})
    align_learning_rate: float | None = field(default=None, metadata={"help": "1e-5; 1e-2 for static embedders."})
    align_batch_size: int = field(default=64, metadata={"help": "Pairs a step."})
    align_mini_batch_size: int | None = field(default=None, metadata={"help": "Pairs embedded at once."})
    align_hard_negatives: int = field(default=3, metadata={"help": "Hard negatives mined for each pair."})
    embedder_dtype: str = field(default="auto", metadata={"help": "float32, float16, bfloat16 or auto."})
    embedder_batch_size: int = field(default=64, metadata={"help": "Windows a forward pass."})
    embedder_max_windows: int = field(default=8, metadata={"help": "Windows embedded of a document."})
    threads: int | None = field(default=None, metadata={"help": "Threads of each process."})
    kmeans_iterations: int = field(default=25, metadata={"help": "Iterations of k-means."})
    giant_factor: float = field(default=10.0, metadata={"help": "Clusters larger than this times the mean split."})
    recluster: bool = field(default=False, metadata={"help": "Train centroids anew."})
    max_shard_bytes: int = field(default=256_000_000, metadata={"help": "Size of the published files."})
    corpus_map: bool = field(default=True, metadata={"help": "Draw the map of the clusters."})
    hub_corpus_id: str | None = field(default=None, metadata={"help": "Where the corpus is pushed to."})
    hub_embedder_id: str | None = field(default=None, metadata={"help": "Where an aligned embedder is pushed to."})
    hub_private: bool = field(default=True, metadata={"help": "Whether new repositories are private."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (
            ("sample_share", 0.0, 1.0),
            ("align_holdout", 0.05, 0.95),
            ("giant_factor", 1.0, float("inf")),
        ):
            if not low < getattr(self, name) <= high:
                raise ConfigError(f"`{name}` is {getattr(self, name)}: set it above {low}, {high} at most")
        for name in (
            "shard_documents align_epochs align_batch_size embedder_batch_size embedder_max_windows kmeans_iterations "
            "max_shard_bytes align_mini_batch_size threads index_max_documents index_max_prompt_tokens "
            "index_max_completion_tokens"
        ).split():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` is {value}: set it to 1 or more")
        if self.embedder_dtype not in DTYPES:
            raise ConfigError(f"`embedder_dtype` is {self.embedder_dtype!r}: set it to one of {', '.join(DTYPES)}")
        if self.hub_corpus_id and self.hub_corpus_id.lower() == self.corpus.lower():
            raise ConfigError(
                f"`hub_corpus_id` is {self.hub_corpus_id!r}, the `corpus` itself, which a push would overwrite: "
                "name another repository"
            )
        if self.align_hard_negatives < 0:
            raise ConfigError(f"`align_hard_negatives` is {self.align_hard_negatives}: set it to 0 or more")


@dataclass
class Place:
    """Where an index is, for a YAML that has no trainer's settings.

    Args:
        output_dir (`str`, *optional*, defaults to `"equal_output"`): Run folder.
        seed (`int`, *optional*, defaults to `42`): Seeds every choice.
    """

    output_dir: str = field(default="equal_output", metadata={"help": "Run folder."})
    seed: int = field(default=42, metadata={"help": "Seeds every choice."})


def parse_index(config: str, flags: list[str]) -> tuple[IndexArguments, str, int]:
    """Read a YAML and flags: an index's own, or a recipe's, whose trainer's settings then say nothing here.

    Returns:
        `tuple[IndexArguments, str, int]`: The arguments, the run folder and the seed.

    Raises:
        [`ConfigError`]: If the file is missing or a key or flag is unknown or has a wrong value.
    """
    import yaml

    try:
        content: Any = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None  # told by what parses it
    own = {f.name for kind in (IndexArguments, Place) for f in fields(kind) if f.init} | {"env"}
    kinds: tuple[Any, ...] = (IndexArguments, Place)
    if isinstance(content, dict) and not set(content) <= own:
        from trl import ModelConfig

        from equal_hf.training.config import EqualConfig

        kinds = (IndexArguments, EqualConfig, ModelConfig)
    args, place, *_ = parse_config(kinds, ["--config", config, *flags], config)
    return args, str(place.output_dir), int(place.seed)
