"""The embedder that `equal-hf align` leaves in a run folder, and the record that says what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.indexing.workspace import read_record
from equal_hf.errors import ConfigError

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig

EMBEDDER_FOLDER = "embedder"
RECORD_FILE = "embedder.json"


def find_aligned(config: CorpusConfig, output_dir: str | Path) -> tuple[Path | None, dict[str, Any] | None]:
    """The aligned embedder of a run folder.

    Args:
        config ([`CorpusConfig`]): Its `align` says whether it has to be there (`True`), is not wanted (`False`), or is
            taken where it is there (`None`).
        output_dir (`str` or `Path`): The run folder.

    Returns:
        `tuple[Path | None, dict[str, Any] | None]`: Its folder, `None` where the original embedder is used; and what
        the alignment measured, `None` where nothing was aligned.

    Raises:
        ConfigError: It is damaged, was aligned from another embedder, or is missing though `align` is true.
    """
    record = Path(output_dir) / RECORD_FILE
    if config.align is False:
        return None, None
    if not record.is_file():
        if config.align:
            raise ConfigError(
                f"`align` is true, but {output_dir} holds no aligned embedder: run `equal-hf align CONFIG` first, or "
                "leave `align` out to embed with the model as it is"
            )
        return None, None
    again = "run `equal-hf align CONFIG` again, or set `align` to false to embed with the model as it is"
    facts = read_record(record, None)
    if facts is None:
        raise ConfigError(f"the aligned embedder in {output_dir} is damaged: {again}")
    if facts["embedder"] != config.embedder:
        raise ConfigError(
            f"the aligned embedder in {output_dir} was made from {facts['embedder']!r}, but `embedder` is "
            f"{config.embedder!r}: {again}"
        )
    return (Path(output_dir) / EMBEDDER_FOLDER if facts["kept"] else None), facts
