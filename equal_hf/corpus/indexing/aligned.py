"""The embedder that `equal-hf align` leaves in a run folder, and the record that says what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.indexing.workspace import read_record
from equal_hf.corpus.made_from import corpus_name
from equal_hf.errors import ConfigError
from equal_hf.utils.hashing import file_hash, fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig

EMBEDDER_FOLDER = "embedder"
RECORD_FILE = "embedder.json"


def alignment_source(config: CorpusConfig) -> dict[str, Any]:
    """What an alignment is made from: another of these, and it has to be made again."""
    corpus = corpus_name(config.corpus)
    return {"corpus": corpus, "embedder": config.embedder, "model": model_content(config.embedder)}


def model_content(embedder: str) -> str | None:
    """What shows that a model in a local folder has changed under its name; `None` for one on the Hub."""
    folder = Path(embedder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint([[path.relative_to(folder).as_posix(), file_hash(path)] for path in files]) if files else None


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
        ConfigError: It is damaged, was made from another embedder or corpus, or is missing though `align` is true.
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
    for name, now in alignment_source(config).items():
        if facts.get(name) != now:
            change = "the model has changed" if name == "model" else f"`{name}` was {facts.get(name)!r}, is {now!r}"
            raise ConfigError(f"the aligned embedder in {output_dir} was made from something else: {change}; {again}")
    return (Path(output_dir) / EMBEDDER_FOLDER if facts["kept"] else None), facts
