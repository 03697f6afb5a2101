"""`ClusteredCorpus`: documents sorted by cluster, drawn from one cluster at a time, from disk or from the Hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import fsspec

from equal_hf.corpus import hub, hub_push
from equal_hf.corpus.block_cache import BlockCache
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.indexing.document_source import rows_source
from equal_hf.corpus.indexing.pipeline import build_corpus
from equal_hf.corpus.kmeans import prepare_clustering
from equal_hf.corpus.manifest import MANIFEST_FILE, check_files, corpus_files, read_manifest, refuse_taken
from equal_hf.corpus.parquet_reader import ClusterReader, read_index
from equal_hf.corpus.profiles import PROFILES_FILE, ClusterProfiles
from equal_hf.corpus.stored_clusters import StoredClusters
from equal_hf.errors import CorpusError
from equal_hf.utils.distributed import Ranks
from equal_hf.utils.files import new_folder

if TYPE_CHECKING:
    from equal_hf.corpus.read_documents import Rows


class ClusteredCorpus(StoredClusters):
    """A corpus whose documents are grouped into clusters, the arms of the bandit.

    Made by [`ClusteredCorpus.build`], opened by [`ClusteredCorpus.load`] or [`ClusteredCorpus.from_hub`]. On disk and
    on the Hub it is an ordinary Parquet dataset, `load_dataset(path)`, with an index beside it.

    Attributes:
        n_clusters (`int`): Clusters, numbered from 0.
        sizes (`np.ndarray` of shape `(n_clusters,)`, int64): Documents of each cluster, 1 or more.
        profiles (`ClusterProfiles`): Mean, covariance and sample embeddings of each cluster.
        manifest (`dict[str, Any]`): How the corpus was made.
        fingerprint (`str`): Identity of the content.
        embedder_name (`str`): The embedder as it was named at the build.
        source (`str`): The folder, or the Hub repository with its commit.
    """

    @classmethod
    def build(
        cls,
        dataset: Rows,
        path: str | Path,
        *,
        embedder: Embedder | str,
        n_clusters: int | Literal["auto"],
        text_column: str = "text",
        id_column: str | None = None,
        metadata_columns: Sequence[str] | None = None,
        min_characters: int = 50,
        seed: int = 42,
        iterations: int = 25,
        threads: int | None = None,
        gpu: bool | Literal["auto"] = "auto",
        giant_factor: float = 10.0,
        shard_documents: int = 1024,
        max_shard_bytes: int = 256_000_000,
        show_progress: bool = True,
    ) -> ClusteredCorpus:
        """Read, embed, cluster and store a corpus, in this process.

        The same rows, embedder, settings and thread count give the same bytes. The folder appears at `path` when it is
        complete; a build that is killed leaves what it has done beside it, and the next one goes on from there.

        Args:
            dataset (`datasets.Dataset`, `datasets.IterableDataset` or iterable of rows): The documents.
            path (`str` or `Path`): Folder to create; it must not exist or be empty.
            embedder (`Embedder` or `str`): Embedder, or the model to make one from.
            n_clusters (`int` or `"auto"`): Clusters wanted; fewer are made where some would stay empty, more where
                giant ones are split. `"auto"` is the square root of the documents, see [`auto_clusters`].
            text_column (`str`, *optional*, defaults to `"text"`): Column that holds the text.
            id_column (`str`, *optional*): Column that names the documents; by default a hash of the text does.
            metadata_columns (`Sequence[str]`, *optional*): Columns to carry along; by default all scalar ones.
            min_characters (`int`, *optional*, defaults to `50`): Shorter texts are dropped.
            seed (`int`, *optional*, defaults to `42`): Seed of the clustering and of the order inside a cluster.
            iterations (`int`, *optional*, defaults to `25`): Iterations of k-means.
            threads (`int`, *optional*): Threads that compute, `min(8, os.cpu_count())` by default; recorded, since
                another number may move a document that lies between two clusters.
            gpu (`bool` or `"auto"`, *optional*, defaults to `"auto"`): Whether k-means runs on the GPU.
            giant_factor (`float`, *optional*, defaults to `10.0`): Clusters of more than so many times the mean size
                are split.
            shard_documents (`int`, *optional*, defaults to `1024`): Documents in a piece of work, what a kill costs at
                most.
            max_shard_bytes (`int`, *optional*, defaults to `256_000_000`): Size at which a data file is closed.
            show_progress (`bool`, *optional*, defaults to `True`): Show a progress bar on a terminal, else log a line
                every half minute.

        Returns:
            `ClusteredCorpus`: Loaded from `path`.

        Raises:
            CorpusError: Columns are missing or wrong, no document is usable, there are more clusters than documents,
                or `path` is taken.
            ConfigError: A setting is out of its range, or the embedder cannot be loaded.
            MissingDependencyError: FAISS is not installed.
        """
        path = Path(path)
        refuse_taken(path)
        clusters = 1 if n_clusters == "auto" else n_clusters
        prepare_clustering(clusters, seed=seed, iterations=iterations, threads=threads, gpu=gpu)
        config = CorpusConfig(
            text_column=text_column,
            id_column=id_column,
            metadata_columns=None if metadata_columns is None else list(metadata_columns),
            min_characters=min_characters,
            n_clusters=str(n_clusters),
            kmeans_iterations=iterations,
            giant_factor=giant_factor,
            shard_documents=shard_documents,
            max_shard_bytes=max_shard_bytes,
            threads=threads,
        )
        build_corpus(
            config,
            path,
            path.absolute().parent / f".{path.absolute().name}.index",
            seed,
            source=rows_source(dataset, config),
            ranks=Ranks(alone=True),
            embedder=Embedder(embedder) if isinstance(embedder, str) else embedder,
            gpu=gpu,
            show_progress=show_progress,
        )
        return cls.load(path)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = False) -> ClusteredCorpus:
        """Open a corpus folder.

        Args:
            path (`str` or `Path`): What `build` or `save` wrote.
            verify (`bool`, *optional*, defaults to `False`): Compare every file with the hash in the manifest, which
                reads all of it; without, with its size.

        Raises:
            CorpusError: Nothing is there, or what is there is no complete clustered corpus.
        """
        path = Path(path)
        if not path.is_dir():
            raise CorpusError(
                f"`corpus`: there is no folder {path}. Build one with `ClusteredCorpus.build`, or open a Hub "
                "repository with `ClusteredCorpus.from_hub`."
            )
        if not (path / MANIFEST_FILE).is_file():
            state = "holds files but no" if any(path.iterdir()) else "is empty: there is no"
            raise CorpusError(
                f"`corpus`: the folder {path} {state} {MANIFEST_FILE}, so it is no clustered corpus. Make one from "
                "documents with `ClusteredCorpus.build`."
            )
        manifest = read_manifest(path / MANIFEST_FILE, str(path))
        check_files(path, manifest, verify=verify)
        sizes = {name: facts["bytes"] for name, facts in manifest["files"].items()}
        reader = ClusterReader(fsspec.filesystem("file"), str(path.absolute()), read_index(path), sizes)
        return cls(reader, ClusterProfiles.load(path / PROFILES_FILE), manifest, str(path), path)

    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        max_cache_bytes: int = 4_000_000_000,
    ) -> ClusteredCorpus:
        """Open a corpus on the Hub.

        Downloads manifest, index, profiles and centroids; documents and embeddings are read when they are asked for,
        one range of bytes a row group, and kept in a bounded local cache. The revision is resolved to a commit once,
        so a later push does not change this corpus.

        Args:
            repo_id (`str`): Dataset repository that `push_to_hub` filled.
            revision (`str`, *optional*): Branch, tag or commit.
            token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
            cache_dir (`str` or `Path`, *optional*): Where downloads are kept; the Hub cache by default.
            max_cache_bytes (`int`, *optional*, defaults to `4_000_000_000`): Room for row groups and embeddings of
                all corpora read with this cache folder; what was used least recently goes first. 0 keeps none.

        Raises:
            CorpusError: The repository cannot be read, or holds no clustered corpus.
        """
        folder, commit, manifest = hub.fetch_summary(repo_id, revision=revision, token=token, cache_dir=cache_dir)
        source = f"{repo_id}@{commit}"
        sizes = {name: facts["bytes"] for name, facts in manifest["files"].items()}
        blocks = BlockCache(hub.block_folder(cache_dir), max_cache_bytes, source)
        files = hub.HubFiles(repo_id, commit, token)
        reader = ClusterReader(files, files.root, read_index(folder), sizes, hub.hub_errors(), blocks)
        corpus = cls(reader, ClusterProfiles.load(folder / PROFILES_FILE), manifest, source, None)
        corpus._token, corpus._cache_dir, corpus._max_cache_bytes = token, cache_dir, max_cache_bytes
        corpus._summary = folder
        return corpus

    def save(self, path: str | Path) -> None:
        """Copy the whole corpus to a folder, downloading what is on the Hub.

        Args:
            path (`str` or `Path`): Folder to create; it must not exist or be empty.

        Raises:
            CorpusError: `path` is taken, or the Hub cannot be read.
        """
        refuse_taken(Path(path))
        with new_folder(Path(path)) as work:
            self._copy(work)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | bool | None = None) -> str:
        """Upload the corpus as a dataset repository, in one commit that replaces an earlier corpus there.

        Files that the earlier corpus does not list stay. A repository that holds something else is refused.

        Args:
            repo_id (`str`): Dataset repository; created if there is none.
            private (`bool`, *optional*): Whether a new repository is private; the owner's default if unset.
            token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.

        Returns:
            `str`: Address of the commit.

        Raises:
            PublishError: The Hub refuses or cannot be reached, or the repository holds files that are no corpus.
        """
        with tempfile.TemporaryDirectory() as copy:
            if self._folder is None:
                self._copy(Path(copy))
            folder = self._folder or Path(copy)
            return hub_push.push_corpus(folder, repo_id, private=private, token=token)

    def open_embedder(self, **settings: Any) -> Embedder:
        """The embedder that the corpus was embedded with: the tuned one in it where there is one, else by its name.

        Args:
            **settings: For [`Embedder`], such as `device`.

        Raises:
            ConfigError: It cannot be loaded.
            CorpusError: The corpus' own cannot be downloaded, or what its name leads to now is another model.
        """
        facts = self.manifest["embedder"]
        settings = {"max_windows": facts.get("max_windows", 8), **settings}
        if not facts.get("folder"):
            embedder = Embedder(self.embedder_name, **settings)
        elif self._folder is not None:
            embedder = Embedder(str(self._folder / facts["folder"]), **settings)
        else:
            repo_id, commit = self.source.split("@")
            local = hub.download_folder(repo_id, commit, self.manifest, facts["folder"], self._token, self._cache_dir)
            embedder = Embedder(str(local), **settings)
        # By what it computes, not by its weights: the corpus may have been embedded at another precision.
        same = embedder.dimension == self.manifest["dimension"]
        if not same or ("probe" in facts and not embedder.computes(facts["probe"])):
            raise CorpusError(
                f"`embedder`: {embedder.name!r} is not the model that {self.source} was embedded with, though it has "
                "its name. Name that model or its revision, or build the corpus again with this one."
            )
        return embedder

    def _copy(self, target: Path) -> None:
        names = corpus_files(self.manifest)
        if self._folder is not None:
            for path in filter(Path.is_file, (self._folder / name for name in names)):
                copy = target / path.relative_to(self._folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        else:
            repo_id, commit = self.source.split("@")
            hub.download(repo_id, commit, self.manifest, target, self._token)
        check_files(target, self.manifest)


def find_clustered(name: str, revision: str | None = None) -> ClusteredCorpus | None:
    """The clustered corpus of that name: a folder, or a repository on the Hub.

    Args:
        name (`str`): Folder or repository.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.

    Returns:
        `ClusteredCorpus` or `None`: `None` where the name is of plain documents.

    Raises:
        CorpusError: It is a clustered corpus, but damaged.
    """
    if (Path(name) / MANIFEST_FILE).is_file():
        return ClusteredCorpus.load(name)
    if not Path(name).exists() and hub.is_clustered(name, revision):
        return ClusteredCorpus.from_hub(name, revision=revision)
    return None
