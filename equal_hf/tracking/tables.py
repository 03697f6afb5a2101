"""What trackers show of a run besides numbers: a table of arms, one of sample pairs, and the cluster map."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from equal_hf.errors import MissingDependencyError
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import RunStatistics
from equal_hf.report.pictures import cluster_picture
from equal_hf.report.projection import MIN_FOR_PROCESS
from equal_hf.report.run_map import ClusterMap, arm_terms, cluster_map
from equal_hf.tracking.keeps_going import keeps_going
from equal_hf.types import Round
from equal_hf.utils.markdown import visible

if TYPE_CHECKING:
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus

Table = tuple[tuple[str, ...], list[list[Any]]]

ARM_COLUMNS = ("cluster", "pulls", "mean_reward", "uncertainty", "documents", "documents_left", "pairs", "top_terms")
PAIR_COLUMNS = ("round", "cluster", "reward", "document_id", "question", "answer")
SAMPLES, CHARACTERS = 50, 600


class RoundTables:
    """Tables of a run, brought up to date from its records.

    Args:
        records ([`RoundRecords`]): The records.
        corpus ([`ClusteredCorpus`], *optional*): Where documents come from.
    """

    def __init__(self, records: RoundRecords, corpus: ClusteredCorpus | None = None) -> None:
        self.records, self.corpus = records, corpus
        self._run = RunStatistics(records.run_dir)
        self.earlier_logs: list[dict[str, Any]] = []  # a trainer's history of rounds, where it goes on after them
        self._samples: list[list[Any]] = []
        self._map: ClusterMap | None = None
        self._projecting: threading.Thread | None = None

    def update(self, through: int) -> None:
        """Take in the rounds up to this one."""
        for index in range(len(self._run.rounds), through + 1):
            round = self.records.load(index)
            self._run.add(self.records, index, round)
            self._sample(round)

    def all(self) -> dict[str, Table]:
        """Columns and rows by table."""
        return {"arms": self.arms(), "pairs_sample": (PAIR_COLUMNS, self._samples[-SAMPLES:])}

    def arms(self) -> Table:
        """One row a cluster that was pulled."""
        terms = arm_terms(self._run)
        rows = []
        for number, arm in sorted(self._run.arms.items()):
            left = None if self.corpus is None else int(self.corpus.sizes[number]) - arm.documents
            words = ", ".join(terms[number])
            rows.append([number, arm.pulls, arm.reward, arm.uncertainty, arm.documents, left, arm.pairs, words])
        return ARM_COLUMNS, rows

    def picture(self) -> bytes | None:
        """The cluster map as a PNG; `None` where matplotlib is not installed, or there is nothing to show."""
        if self.corpus is not None and self.corpus.n_clusters >= MIN_FOR_PROCESS:
            self._project_beside()  # the rounds until it is done go without the picture
        elif self._map is None or self.corpus is None:  # without a corpus it grows with the run
            self._map = cluster_map(self._run, self.corpus)
        if self._map is None or not self._map.arms:
            return None
        try:
            return cluster_picture(self._run, self._map)
        except MissingDependencyError:
            return None

    def _project_beside(self) -> None:
        """Place the clusters, once, while the run goes on."""
        if self._projecting is None:

            def project() -> None:
                with keeps_going("Drawing the cluster map"):
                    self._map = cluster_map(self._run, self.corpus)

            self._projecting = threading.Thread(target=project, name="equal-cluster-map", daemon=True)
            self._projecting.start()

    def _sample(self, round: Round) -> None:
        """The first pair of each arm of the round."""
        reward_record = self.records.reward_record(round.index)
        for index, pairs in enumerate(round.pairs_by_arm()):
            if pairs:
                pair, reward = round.pairs[pairs[0]], reward_record["mixed"][index] if reward_record else None
                texts = [visible(text[:CHARACTERS], keep="\n") for text in (pair.question, pair.answer)]
                self._samples.append([round.index, pair.cluster, reward, visible(pair.document_id), *texts])
