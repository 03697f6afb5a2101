"""What the YAML of `equal-hf align` and `equal-hf index` says; a recipe's serves them too.

Every key is also a flag of the same name (`--sample_share 0.01`), which wins over the file.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from equal_hf.alignment.config import AlignConfig, SampleConfig
from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.parse_config import parse_config, read_yaml
from equal_hf.corpus.indexing.config import IndexConfig
from equal_hf.utils.settings import check_settings, prefixed, setting, take

_PREFIX = "align_"


@dataclass
@prefixed(AlignConfig, _PREFIX)
class IndexArguments(RunArguments, SampleConfig, IndexConfig):
    """Arguments of an index and its alignment: those of [`RunArguments`], [`SampleConfig`], [`IndexConfig`] and, with
    `align_` before their names, those of [`AlignConfig`]. Each field says what it is."""

    required: ClassVar[tuple[str, ...]] = ("corpus",)

    def __post_init__(self) -> None:
        RunArguments.__post_init__(self)
        SampleConfig.__post_init__(self)
        IndexConfig.__post_init__(self)
        _ = self.alignment  # which checks itself

    @property
    def alignment(self) -> AlignConfig:
        """How to align."""
        config: AlignConfig = take(AlignConfig, self, _PREFIX)
        return config


@dataclass
class Place:
    """Where an index is, for a YAML that has no trainer's settings. Each field says what it is."""

    output_dir: str = setting("equal_output", "Run folder.")
    seed: int = setting(42, "Seeds every choice.")

    def __post_init__(self) -> None:
        check_settings(self)


def parse_index(config: str, flags: list[str]) -> tuple[IndexArguments, str, int]:
    """Read a YAML and flags: an index's own, or a recipe's, whose trainer's settings then say nothing here.

    Returns:
        `tuple[IndexArguments, str, int]`: The arguments, the run folder and the seed.

    Raises:
        [`ConfigError`]: If the file is missing or a key or flag is unknown or has a wrong value.
    """
    own = {f.name for kind in (IndexArguments, Place) for f in fields(kind) if f.init} | {"env"}
    kinds: tuple[Any, ...] = (IndexArguments, Place)
    if not set(read_yaml(Path(config))) <= own | set(RunArguments.renamed):
        from trl import ModelConfig

        from equal_hf.training.config import EqualConfig

        kinds = (IndexArguments, EqualConfig, ModelConfig)
    args, place, *_ = parse_config(kinds, ["--config", config, *flags], config)
    return args, str(place.output_dir), int(place.seed)
