"""Corpus: documents are read, embedded, clustered and stored, so that one cluster at a time can be drawn."""

from equal_hf.corpus.clustered_corpus import ClusteredCorpus
from equal_hf.corpus.dataset import ReadReport, open_dataset, read_documents
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.profiles import ClusterProfiles

__all__ = ["ClusterProfiles", "ClusteredCorpus", "Embedder", "ReadReport", "open_dataset", "read_documents"]
