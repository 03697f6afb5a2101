"""What a recipe's YAML says besides the trainer's settings and the model's: corpus, target, extractor, policy.

Every key is also a flag of the same name (`--extractor_url http://…`), which wins over the file.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

from equal_hf.cli.target_arguments import NONE, PER_TARGET, as_list, target_settings
from equal_hf.errors import ConfigError
from equal_hf.selection.neighbours import NEIGHBOURS, check_neighbours
from equal_hf.selection.rewards import current_reward_name
from equal_hf.utils.redaction import mask_text

LEAST_PUSH_EVERY_S = 60.0  # the Hub takes some 128 commits an hour
# Keys that earlier versions had.
RENAMED = {"extractor_flavour": "extractor_dialect"}
EXTRACTORS = ("endpoint", "explicit")
BANDITS = ("ucb", "thompson", "linucb", "exp3", "greedy", "uniform")
REWARDS = (
    "value",
    "transport",
    "debiased_transport",
    "pooled_transport",
    "marginal_transport",
    "yield",
    "value_per_token",
    "yield_per_token",
    "value_per_cost",
    "yield_per_cost",
    "loss_drop",
    "loss_attribution",
    "influence",
)


@dataclass
class RunArguments:
    """Arguments of a recipe.

    Args:
        corpus (`str`): Documents: a Hub dataset id, a local file or folder, or a `ClusteredCorpus` in either place.
        corpus_config, corpus_split, corpus_revision (`str`, *optional*): Which part of the Hub dataset.
        text_column (`str`, *optional*, defaults to `"text"`): Column that holds the text.
        id_column (`str`, *optional*): Column that names documents; a hash of the text where left out.
        min_characters (`int`, *optional*, defaults to `50`): Shorter documents are dropped.
        embedder (`str`, *optional*, defaults to `"BAAI/bge-base-en-v1.5"`): Any sentence-transformers model.
        n_clusters (`int` or `"auto"`, *optional*, defaults to `"auto"`): Clusters, the arms of the bandit; `"auto"`:
            the square root of the documents, see [`auto_clusters`].
        corpus_dir (`str`, *optional*): Where the clustered corpus is kept; `<output_dir>/corpus` where left out.
        target (`str` or `list[str]`): Questions and answers of the target task: Hub id, file or folder; or of several
            tasks, which `target_weights` may weigh. The keys that follow then hold one value for all, or one for each
            (`null` for none).
        target_names (`str` or `list[str]`, *optional*): What several targets are called in rewards, losses and tables;
            the last part of their `target` where left out.
        target_config, target_revision (`str` or `list[str]`, *optional*): Which part of it.
        target_reference_split, target_validation_split, target_test_split (`str` or `list[str]`, *optional*): Its
            three parts.
        target_split_column (`str` or `list[str]`, *optional*): Column that names each row's part, for a target that is
            one table.
        target_question_column, target_answer_column (`str` or `list[str]`, *optional*): Its columns.
        n_reference, n_validation, n_test (`int`, *optional*): Sizes of seeded samples of each target's parts.
        extractor (`str`, *optional*, defaults to `"endpoint"`): `"endpoint"`, or `"explicit"` for pairs that documents
            state themselves.
        extractor_url (`str` or `list[str]`, *optional*): The endpoint, such as `http://localhost:8080`, or several
            that serve the same model.
        extractor_model (`str`, *optional*): Model to ask for, where the endpoint serves several.
        extractor_model_revision (`str`, *optional*): Its revision, where the endpoint does not tell.
        extractor_api_key (`str`, *optional*): Key of the endpoint; better given as `EQUAL_API_KEY` in the environment.
        extractor_headers (`dict[str, str]`, *optional*): Further headers of every request, for gateways that want
            some; as a flag, JSON. Recorded nowhere.
        extractor_prompt (`str`, *optional*): Jinja file that replaces the extraction prompt, or a dataset repository
            on the Hub that holds one (`user/repo`, `user/repo@revision/path/to/file.jinja`).
        extractor_examples (`int`, *optional*, defaults to `0`): Reference items shown in the prompt as examples of
            what is wanted.
        extractor_refine (`bool`, *optional*, defaults to `False`): Ask a second time, to put pairs right or strike
            them out.
        extractor_judge (`bool`, *optional*, defaults to `False`): Ask for a grade from 1 to 5 for each pair.
        extractor_judge_min_score (`int`, *optional*, defaults to `3`): Pairs graded below are rejected.
        extractor_dialect (`str`, *optional*, defaults to `"auto"`): What serves: `"tgi"`, `"llama.cpp"`, `"vllm"`,
            `"openai"`.
        extractor_max_new_tokens (`int`, *optional*, defaults to `1024`): Longest reply.
        extractor_temperature (`float`, *optional*, defaults to `0.0`): Sampling temperature.
        extractor_max_input_tokens (`int`, *optional*): Longest prompt, for an endpoint that tells no limit.
        extractor_tokenizer (`str`, *optional*): Tokenizer of the endpoint's model, to count tokens here.
        extractor_concurrency (`int`, *optional*, defaults to `256`): Requests in flight at each endpoint at most; how
            many there are is learned from what it takes.
        extractor_requests_per_minute, extractor_tokens_per_minute (`int`, *optional*): Caps of each endpoint.
        extractor_timeout_s (`float`, *optional*, defaults to `300.0`): Seconds a request may take, once it is sent.
        extractor_max_retries (`int`, *optional*, defaults to `10`): How often a request is sent again.
        extractor_max_error_rate (`float`, *optional*, defaults to `0.5`): The run stops when more than this share of
            the last `extractor_error_window` requests failed.
        extractor_error_window (`int`, *optional*, defaults to `100`): See there.
        extractor_load_timeout_s (`float`, *optional*, defaults to `600.0`): Seconds to wait for an endpoint that is
            loading or away.
        price_per_million_prompt_tokens, price_per_million_completion_tokens (`float`, *optional*): What the endpoint
            charges, in the currency of `max_cost`; what `…_per_cost` rewards divide by.
        response_store (`str`, *optional*): Where replies are kept, `<output_dir>/responses.sqlite` where left out.
            Runs that name the same file never pay twice for the same reply.
        bandit (`str`, *optional*, defaults to `"ucb"`): `"ucb"`, `"thompson"`, `"linucb"`, `"exp3"`, `"greedy"` or
            `"uniform"`.
        alpha (`float`, *optional*): Exploration of [`UCB`] and [`LinUCB`].
        prior_weight, neighbour_radius (`float`, *optional*): Settings of [`UCB`] and [`Thompson`].
        neighbours (`str`, *optional*, defaults to `"bures"`): How they share rewards between clusters, where
            `neighbour_radius` is above 0: `"bures"`, wholly within that Bures-Wasserstein distance; or `"centroid"`,
            by a Gaussian kernel of that width on the distance of centroids.
        bandit_discount (`float`, *optional*, defaults to `1.0`): Weight that rewards keep from round to round, for
            rewards that drift.
        reward_funcs (`list[str]`, *optional*): Rewards that pay arms: `value`, `transport`, `debiased_transport`,
            `pooled_transport`, `marginal_transport`, `yield`, `value_per_token`, `yield_per_token`,
            `value_per_cost`, `yield_per_cost`, `loss_drop`, `loss_attribution`, `influence`.
        control (`str`, *optional*): `"uniform"` repeats the run with uniform selection, at equal documents and steps.
        hub_dataset_id (`str`, *optional*): Hub dataset to publish pairs to, with `push_to_hub`.
        hub_push_every_s (`float`, *optional*, defaults to `300.0`): Seconds between two pushes of rounds at least,
            since the Hub limits commits an hour.
    """

    required: ClassVar[tuple[str, ...]] = ("corpus", "target")

    corpus: str = field(default="", metadata={"help": "Documents: Hub id, file, folder, or a clustered corpus."})
    corpus_config: str | None = field(default=None, metadata={"help": "Configuration of the Hub dataset."})
    corpus_split: str = field(default="train", metadata={"help": "Split of the Hub dataset."})
    corpus_revision: str | None = field(default=None, metadata={"help": "Revision of the Hub dataset."})
    text_column: str = field(default="text", metadata={"help": "Column that holds the text."})
    id_column: str | None = field(default=None, metadata={"help": "Column that names documents."})
    min_characters: int = field(default=50, metadata={"help": "Shorter documents are dropped."})
    embedder: str = field(default="BAAI/bge-base-en-v1.5", metadata={"help": "A sentence-transformers model."})
    n_clusters: str = field(default="auto", metadata={"help": "Clusters, the arms of the bandit, or auto."})
    corpus_dir: str | None = field(default=None, metadata={"help": "Where the clustered corpus is kept."})
    target: list[str] = field(
        default_factory=list, metadata={"help": "Questions and answers of the target task, or of several."}
    )
    target_names: list[str] | None = field(default=None, metadata={"help": "What several targets are called."})
    target_config: list[str] | None = field(default=None, metadata={"help": "Configuration of the target dataset."})
    target_revision: list[str] | None = field(default=None, metadata={"help": "Revision of the target dataset."})
    target_reference_split: list[str] = field(
        default_factory=lambda: ["reference"], metadata={"help": "Part that pays transport."}
    )
    target_validation_split: list[str] | None = field(
        default_factory=lambda: ["validation"], metadata={"help": "Part that pays loss drop."}
    )
    target_test_split: list[str] | None = field(
        default_factory=lambda: ["test"], metadata={"help": "Part that measures, and nothing else."}
    )
    target_split_column: list[str] | None = field(default=None, metadata={"help": "Column naming each row's part."})
    target_question_column: list[str] = field(
        default_factory=lambda: ["question"], metadata={"help": "Column of questions."}
    )
    target_answer_column: list[str] = field(
        default_factory=lambda: ["answer"], metadata={"help": "Column of answers."}
    )
    n_reference: int | None = field(default=100, metadata={"help": "Reference items used."})
    n_validation: int | None = field(default=None, metadata={"help": "Validation items used."})
    n_test: int | None = field(default=None, metadata={"help": "Test items used."})
    extractor: str = field(default="endpoint", metadata={"help": "endpoint or explicit.", "choices": [*EXTRACTORS]})
    extractor_url: list[str] | None = field(default=None, metadata={"help": "The endpoint's URL, or several."})
    extractor_model: str | None = field(default=None, metadata={"help": "Model to ask the endpoint for."})
    extractor_model_revision: str | None = field(default=None, metadata={"help": "Its revision, if not told."})
    extractor_api_key: str | None = field(default=None, metadata={"help": "Prefer EQUAL_API_KEY in the environment."})
    extractor_headers: dict[str, str] | str | None = field(
        default=None, metadata={"help": "Further headers of every request, as JSON."}
    )
    extractor_prompt: str | None = field(default=None, metadata={"help": "Jinja file or Hub id of another prompt."})
    extractor_examples: int = field(default=0, metadata={"help": "Reference items shown as examples."})
    extractor_refine: bool = field(default=False, metadata={"help": "Ask again to put pairs right."})
    extractor_judge: bool = field(default=False, metadata={"help": "Ask for a grade of each pair."})
    extractor_judge_min_score: int = field(default=3, metadata={"help": "Pairs graded below (1 to 5) are rejected."})
    extractor_dialect: str = field(default="auto", metadata={"help": "auto, tgi, llama.cpp, vllm or openai."})
    extractor_max_new_tokens: int = field(default=1024, metadata={"help": "Longest reply, in tokens."})
    extractor_temperature: float = field(default=0.0, metadata={"help": "Sampling temperature."})
    extractor_max_input_tokens: int | None = field(default=None, metadata={"help": "Longest prompt, in tokens."})
    extractor_tokenizer: str | None = field(default=None, metadata={"help": "Its tokenizer, to count tokens here."})
    extractor_concurrency: int = field(default=256, metadata={"help": "Requests in flight at most, per endpoint."})
    extractor_requests_per_minute: int | None = field(default=None, metadata={"help": "Cap of each endpoint."})
    extractor_tokens_per_minute: int | None = field(default=None, metadata={"help": "Cap of each endpoint."})
    extractor_timeout_s: float = field(default=300.0, metadata={"help": "Seconds a request may take once sent."})
    extractor_max_retries: int = field(default=10, metadata={"help": "How often a request is sent again."})
    extractor_max_error_rate: float = field(default=0.5, metadata={"help": "Share of failures that ends the run."})
    extractor_error_window: int = field(default=100, metadata={"help": "Requests that share is taken of."})
    extractor_load_timeout_s: float = field(default=600.0, metadata={"help": "Seconds to wait for an endpoint."})
    price_per_million_prompt_tokens: float = field(default=0.0, metadata={"help": "What the endpoint charges."})
    price_per_million_completion_tokens: float = field(default=0.0, metadata={"help": "What the endpoint charges."})
    response_store: str | None = field(
        default=None, metadata={"help": "File of replies, shared by runs that name it."}
    )
    bandit: str = field(default="ucb", metadata={"help": "Selection policy.", "choices": [*BANDITS]})
    alpha: float = field(default=0.1, metadata={"help": "Exploration weight of UCB and LinUCB."})
    prior_weight: float = field(default=10.0, metadata={"help": "Rewards the document prior counts for; 0: none."})
    neighbour_radius: float = field(default=0.0, metadata={"help": "Distance under which clusters share rewards."})
    neighbours: str = field(default="bures", metadata={"help": "How they share them.", "choices": [*NEIGHBOURS]})
    bandit_discount: float = field(default=1.0, metadata={"help": "Weight that rewards keep from round to round."})
    reward_funcs: list[str] = field(
        default_factory=lambda: ["value", "loss_drop"], metadata={"help": "Rewards that pay arms."}
    )
    control: str | None = field(default=None, metadata={"help": "uniform: repeat the run with uniform selection."})
    hub_dataset_id: str | None = field(default=None, metadata={"help": "Hub dataset to publish pairs to."})
    hub_push_every_s: float = field(default=300.0, metadata={"help": "Seconds between pushes of rounds at least."})

    def __post_init__(self) -> None:
        for key in ("target_names", *PER_TARGET):
            setattr(self, key, as_list(getattr(self, key)))
        for name in self.required:
            if not getattr(self, name) or (name == "target" and NONE in (self.target or [])):
                raise ConfigError(f"`{name}` is not set: name a Hub dataset or a local file or folder")
        if isinstance(self.extractor_url, str):
            self.extractor_url = [self.extractor_url]
        if self.hub_push_every_s < LEAST_PUSH_EVERY_S:
            raise ConfigError(
                f"`hub_push_every_s` is {self.hub_push_every_s}, but the Hub takes some 128 commits an hour: "
                f"set it to {LEAST_PUSH_EVERY_S:.0f} or more"
            )
        if self.control not in (None, "uniform"):
            raise ConfigError(f"`control` is {self.control!r}: set it to 'uniform', or leave it out")
        self.reward_funcs = [current_reward_name(name) for name in self.reward_funcs]
        if unknown := [name for name in self.reward_funcs if name not in REWARDS]:
            raise ConfigError(f"`reward_funcs` names {', '.join(unknown)}: choose from {', '.join(REWARDS)}")
        priced = [name for name in self.reward_funcs if name.endswith("_per_cost")]
        prices = (self.price_per_million_prompt_tokens, self.price_per_million_completion_tokens)
        if priced and (min(prices) < 0 or not sum(prices) > 0):
            raise ConfigError(
                f"`reward_funcs` names {', '.join(priced)}, but `price_per_million_prompt_tokens` is {prices[0]} and "
                f"`price_per_million_completion_tokens` is {prices[1]}: set what the endpoint charges, or use "
                f"{', '.join(name.replace('_cost', '_token') for name in priced)}"
            )
        check_neighbours(self.neighbours)
        target_settings(self)
        count = str(self.n_clusters)
        if count != "auto" and not (count.isdecimal() and int(count) > 0):
            raise ConfigError(f"`n_clusters` is {count!r}: set it to a whole number of 1 or more, or to auto")

    @property
    def clusters(self) -> int | Literal["auto"]:
        """`n_clusters` as a number, or `"auto"`."""
        return "auto" if str(self.n_clusters) == "auto" else int(self.n_clusters)


def parse_config(dataclass_types: tuple[Any, ...], argv: list[str], default: str | Path) -> tuple[Any, ...]:
    """Read a YAML and the flags that override it into dataclasses, with TRL's parser.

    Args:
        dataclass_types (`tuple[type, ...]`): The dataclasses.
        argv (`list[str]`): Command-line arguments, without the program.
        default (`str` or `Path`): The YAML that is read where `--config` names none.

    Raises:
        [`ConfigError`]: If the file is missing or no YAML mapping, or a key or flag is unknown or has a wrong value.
    """
    from dataclasses import fields

    import yaml
    from trl import TrlParser

    argv = list(argv)
    if "--config" not in argv:
        argv += ["--config", str(default)]
    place = argv.index("--config") + 1
    path = Path(argv[place]) if place < len(argv) else Path()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path} ({error}): name a YAML file with --config") from error
    except yaml.YAMLError as error:
        # Where, but not what: the line may hold a key.
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"{path} is no valid YAML{where}: {problem}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings: write one `key: value` a line")
    known = {field.name for kind in dataclass_types for field in fields(kind) if field.init} | {"env"}
    given = {key: f"key {key!r} in {path}" for key in content}
    flags = [word.split("=")[0] for word in argv if word.startswith("--") and word != "--config"]
    given |= {flag[2:]: f"flag {flag!r}" for flag in flags}
    for name, where in given.items():
        if str(name) in RENAMED:
            raise ConfigError(f"{where} is now called `{RENAMED[name]}`: rename it")
        if str(name).replace("-", "_").removeprefix("no_") not in known and name not in known:
            close = get_close_matches(str(name), known, n=1)
            raise ConfigError(f"unknown {where}" + (f": did you mean `{close[0]}`?" if close else ": remove it"))
    if "bf16" in known and not (content.get("use_cpu") or "--use_cpu" in argv) and not _has_accelerator():
        # transformers would stop over the precision alone; what is missing is told by `preflight`, all at once.
        argv += ["--bf16", "False", "--fp16", "False"]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return TrlParser(list(dataclass_types)).parse_args_and_config(argv, fail_with_unknown_args=True)
    except ConfigError:
        raise
    except SystemExit as stop:  # argparse prints all of its usage, then the one line that matters
        if not stop.code:
            raise
        said = complaint.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError(f"{path} or a flag: {mask_text(said)}") from None
    except (TypeError, ValueError) as error:
        if "not used" in str(error):  # it lists them; they may belong to a flag that is not there
            raise ConfigError("the command line has words that belong to no flag: quote what has blanks") from None
        raise ConfigError(f"{path} or a flag has a value that does not fit: {mask_text(str(error))}") from error


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()
