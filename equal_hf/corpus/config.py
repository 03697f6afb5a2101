"""Settings of a corpus: where documents come from, how they are embedded and clustered, how files are written.

>>> CorpusConfig(corpus="docs.parquet", n_clusters=120).clusters
120
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from equal_hf.corpus.embedder import DTYPES
from equal_hf.errors import ConfigError
from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import Described, Range


@dataclass
class CorpusConfig:
    """Where documents come from, how they are embedded and clustered. Each field says what it is."""

    corpus: str = setting(
        "", "Documents: a Hub dataset, a local file or folder, or a clustered corpus in either place."
    )
    corpus_config: str | None = setting(None, "Configuration of the Hub dataset.")
    corpus_split: str | None = setting(
        None,
        "Split, or a part of one (`train[:300]`); if unset all files of a local folder, `train` of a Hub dataset.",
    )
    corpus_revision: str | None = setting(None, "Revision of the Hub dataset.")
    text_column: str = setting("text", "Column that holds the text.")
    id_column: str | None = setting(None, "Column that names documents; a hash of the text if unset.")
    metadata_columns: list[str] | None = setting(None, "Columns to carry along; all but bytes if unset.")
    min_characters: Annotated[int, Range(0)] = setting(50, "Shorter documents are skipped.")
    embedder: str = setting("BAAI/bge-base-en-v1.5", "A sentence-transformers model, or a folder that holds one.")
    embedder_dtype: str = setting(
        "auto", "Precision of the embedder: float32, float16, bfloat16; `auto` for half precision on a GPU."
    )
    embedder_batch_size: Annotated[int, Range(1)] = setting(64, "Number of windows in a forward pass.")
    embedder_max_windows: Annotated[int, Range(1)] = setting(8, "Number of windows embedded of one document.")
    align: bool | None = setting(
        None,
        "Whether the embedder that `equal-hf align` left in `output_dir` is used; if unset, where there is one.",
    )
    n_clusters: Annotated[str, Described("a whole number or auto")] = setting(
        "auto", "Number of clusters, the arms of the bandit; `auto` for the square root of the documents."
    )
    kmeans_iterations: Annotated[int, Range(1)] = setting(25, "Number of iterations of k-means.")
    giant_factor: Annotated[float, Range(above=1)] = setting(
        10.0, "Clusters of more than this times the mean size are split."
    )
    corpus_dir: str | None = setting(None, "Folder of the clustered corpus; `<output_dir>/corpus` if unset.")
    index_dir: str | None = setting(
        None, "Folder of what a stopped build goes on from, `<output_dir>/index` if unset; every process must see it."
    )
    shard_documents: Annotated[int, Range(1)] = setting(
        1024, "Number of documents in a piece of work: what processes share out, and what is read anew after a kill."
    )
    max_shard_bytes: Annotated[int, Range(1)] = setting(256_000_000, "Bytes at which a data file is closed.")
    on_bad_file: str = setting(
        "stop", "What a file that cannot be read does: `stop`, or `skip`, which the card says.", ["stop", "skip"]
    )
    parse_timeout_s: Annotated[float, Range(above=0)] = setting(
        120.0, "Seconds of computing that reading a web page or a PDF file may take."
    )
    max_parse_bytes: Annotated[int, Range(1_000_000)] = setting(
        2_000_000_000, "Bytes of memory that reading a web page or a PDF file may take, on Linux."
    )
    threads: Annotated[int, Range(1)] | None = setting(
        None, "Threads of each process, recorded since another number may give other bytes; shared out if unset."
    )

    def __post_init__(self) -> None:
        check_settings(self, only=CorpusConfig)
        if self.n_clusters != "auto" and not (self.n_clusters.isdecimal() and int(self.n_clusters) > 0):
            raise ConfigError(
                f"`n_clusters` is {self.n_clusters!r}: set it to a whole number of 1 or more, or to auto"
            )

        if self.embedder_dtype not in DTYPES:
            raise ConfigError(f"`embedder_dtype` is {self.embedder_dtype!r}: set it to one of {', '.join(DTYPES)}")

    @property
    def clusters(self) -> int | Literal["auto"]:
        """`n_clusters` as a number, or `"auto"`."""
        return "auto" if self.n_clusters == "auto" else int(self.n_clusters)
