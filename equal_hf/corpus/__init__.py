"""Corpus: documents are read, embedded, clustered and stored, so that one cluster at a time can be drawn."""

from equal_hf.corpus.clustered_corpus import ClusteredCorpus
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.open_dataset import open_dataset
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.corpus.read_documents import ReadReport, read_documents

__all__ = ["ClusterProfiles", "ClusteredCorpus", "Embedder", "ReadReport", "open_dataset", "read_documents"]
