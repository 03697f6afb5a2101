"""Settings of a corpus: where documents come from, and how they are clustered.

>>> CorpusConfig(corpus="docs.parquet", n_clusters=120).clusters
120
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from equal_hf.errors import ConfigError
from equal_hf.utils.settings import Range, check_settings, setting


@dataclass
class CorpusConfig:
    """Where documents come from, and how they are clustered. Each field says what it is."""

    corpus: str = setting(
        "", "Documents: a Hub dataset, a local file or folder, or a clustered corpus in either place."
    )
    corpus_config: str | None = setting(None, "Configuration of the Hub dataset.")
    corpus_split: str | None = setting(
        None, "Split; if unset all files of a local folder, and `train` of a Hub dataset."
    )
    corpus_revision: str | None = setting(None, "Revision of the Hub dataset.")
    text_column: str = setting("text", "Column that holds the text.")
    id_column: str | None = setting(None, "Column that names documents; a hash of the text if unset.")
    metadata_columns: list[str] | None = setting(None, "Columns to carry along; all but bytes if unset.")
    min_characters: Annotated[int, Range(0)] = setting(50, "Shorter documents are skipped.")
    embedder: str = setting("BAAI/bge-base-en-v1.5", "A sentence-transformers model, or a folder that holds one.")
    n_clusters: str = setting(
        "auto", "Number of clusters, the arms of the bandit; `auto` for the square root of the documents."
    )
    corpus_dir: str | None = setting(None, "Folder of the clustered corpus; `<output_dir>/corpus` if unset.")

    def __post_init__(self) -> None:
        check_settings(self, only=CorpusConfig)
        if self.n_clusters != "auto" and not (self.n_clusters.isdecimal() and int(self.n_clusters) > 0):
            raise ConfigError(
                f"`n_clusters` is {self.n_clusters!r}: set it to a whole number of 1 or more, or to auto"
            )

    @property
    def clusters(self) -> int | Literal["auto"]:
        """`n_clusters` as a number, or `"auto"`."""
        return "auto" if self.n_clusters == "auto" else int(self.n_clusters)
