"""Settings of `equal-hf index`, beside those of any corpus."""

from __future__ import annotations

from dataclasses import dataclass

from equal_hf.corpus.config import CorpusConfig
from equal_hf.errors import ConfigError
from equal_hf.utils.settings import check_settings, setting

STAGES = ("read", "embed", "cluster", "assign", "write", "push")


@dataclass
class IndexConfig(CorpusConfig):
    """Settings of an index: those of [`CorpusConfig`] and these. Each field says what it is."""

    recluster: bool = setting(False, "Train centroids anew where an earlier revision left some.")
    corpus_map: bool = setting(True, "Draw the map of the clusters.")
    hub_corpus_id: str | None = setting(
        None, "Dataset repository that the corpus is pushed to: a new one, or one of an earlier corpus."
    )
    hub_embedder_id: str | None = setting(None, "Model repository that an aligned embedder is pushed to.")
    hub_private: bool = setting(True, "Whether new repositories are private.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, only=IndexConfig)
        if self.hub_corpus_id and self.hub_corpus_id.lower() == self.corpus.lower():
            raise ConfigError(
                f"`hub_corpus_id` is {self.hub_corpus_id!r}, the `corpus` itself, which a push would overwrite: "
                "name another repository"
            )
