"""Corpus: documents are read, embedded, clustered and stored, so that one cluster at a time can be drawn."""

from equal_hf.corpus.embed import Embedder
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.corpus.read import ReadReport, open_dataset, read_documents
from equal_hf.corpus.store import ClusteredCorpus

__all__ = ["ClusterProfiles", "ClusteredCorpus", "Embedder", "ReadReport", "open_dataset", "read_documents"]
