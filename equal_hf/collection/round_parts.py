"""The parts of a round: the documents drawn for it, extracted, and its decisions, pairs and usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from equal_hf.collection.config import CollectorConfig
from equal_hf.collection.spending import share_cost
from equal_hf.errors import ExtractionError
from equal_hf.filters.base import Filter, apply_filters, withhold
from equal_hf.selection.selector import Draw, Selector
from equal_hf.types import Decision, Document, Extraction, QAPair, Rejection, Usage

if TYPE_CHECKING:
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus


class ExtractedDraws:
    """What a round draws, extracted.

    Args:
        corpus ([`ClusteredCorpus`]): Where documents come from.
        extract (`Callable`): Extracts documents, given what those of the round before them used.
        first (`Callable`, *optional*): Called with the first draws, before they are extracted.

    Attributes:
        by_arm (`dict[int, list[tuple[Document, Extraction]]]`): Documents that the budget had room for, by cluster.
        extractions (`list[Extraction]`): Of all documents.
    """

    def __init__(
        self,
        corpus: ClusteredCorpus,
        extract: Callable[[list[Document], Usage], list[Extraction]],
        first: Callable[[list[Draw]], None] | None = None,
    ) -> None:
        self._corpus, self._extract, self._first = corpus, extract, first
        self.by_arm: dict[int, list[tuple[Document, Extraction]]] = {}
        self.extractions: list[Extraction] = []

    @property
    def documents(self) -> dict[str, Document]:
        """The documents by id."""
        return {document.id: document for done in self.by_arm.values() for document, _ in done}

    def fits(self, draws: list[Draw]) -> list[list[bool]]:
        """Extract; of each row of each draw, whether the budget had room for it."""
        batches = [
            self._corpus.draw(draw.arm, len(draw.rows), order=np.array(draw.rows, dtype=np.int64)) for draw in draws
        ]
        if self._first is not None and not self.extractions:
            self._first(draws)
        used = sum((extraction.usage for extraction in self.extractions), Usage())
        extractions = self._extract([document for batch in batches for document in batch], used)
        self.extractions += extractions
        results = iter(extractions)
        told: list[list[bool]] = []
        for draw, batch in zip(draws, batches, strict=True):
            done = list(zip(batch, results, strict=False))
            told.append([extraction.finish_reason != "budget" for _, extraction in done])
            self.by_arm.setdefault(draw.arm, []).extend(compress(done, told[-1]))
        return told


def prefetch_documents(
    selector: Selector, corpus: ClusteredCorpus, args: CollectorConfig, index: int, draws: Sequence[Draw]
) -> None:
    """While a round is extracted, fetch what round `index` would draw if that round taught nothing.

    Args:
        selector ([`Selector`]): Knows all rounds before.
        corpus ([`ClusteredCorpus`]): Where documents come from.
        args ([`CollectorConfig`]): Size of the round and seed.
        index (`int`): The next round.
        draws (`Sequence[Draw]`): What the round under way drew.
    """
    if index >= args.planned_rounds or not corpus.prefetches:
        return
    then = selector.after(draws)
    pulls = then.pulls(args.arms_per_round, args.documents_per_arm, np.random.default_rng([args.seed, index]))
    # The order inside a cluster may still change; twice as many of those that are first now hold most of them.
    corpus.prefetch([(pull.arm, 2 * pull.documents, 0) for pull in pulls], then.order_of)


@dataclass(frozen=True, slots=True)
class RoundParts:
    """What a round is made of, and what is recorded beside it.

    Args:
        decisions (`tuple[Decision, ...]`): One per arm of which a document was extracted.
        pairs (`tuple[QAPair, ...]`): Pairs that passed the filters.
        rejected (`tuple[Rejection, ...]`): What extraction and filters rejected.
        usage_by_arm (`list[Usage]`): What each decision's documents used.
        document_embeddings (`np.ndarray` of shape `(documents, d)`, *optional*): Where selection learns from them.
    """

    decisions: tuple[Decision, ...]
    pairs: tuple[QAPair, ...]
    rejected: tuple[Rejection, ...]
    usage_by_arm: list[Usage]
    document_embeddings: np.ndarray | None


def assemble(
    draws: Sequence[Draw],
    by_arm: Mapping[int, Sequence[tuple[Document, Extraction]]],
    filters: Sequence[Filter],
    raw_reply: Callable[[QAPair], str],
) -> RoundParts:
    """Filter what was extracted and sort it by arm.

    Args:
        draws (`Sequence[Draw]`): What was drawn, one a cluster.
        by_arm (`Mapping[int, Sequence[tuple[Document, Extraction]]]`): What came of it, in the order drawn.
        filters (`Sequence[Filter]`): In the order they run.
        raw_reply (`Callable`): The reply a pair came from, for the records of rejected ones.
    """
    decisions: list[Decision] = []
    pairs: list[QAPair] = []
    rejected: list[Rejection] = []
    usage_by_arm: list[Usage] = []
    embeddings: list[np.ndarray] = []
    for draw in draws:
        ids = tuple(document.id for document, _ in by_arm[draw.arm])
        decisions.append(Decision(draw.arm, draw.score, ids, draw.rows, draw.expected_value))
        usage_by_arm.append(sum((result.usage for _, result in by_arm[draw.arm]), Usage()))
        if draw.embeddings is not None:
            embeddings.append(draw.embeddings)
        for document, result in by_arm[draw.arm]:
            kept, dropped = apply_filters(result.pairs, {document.id: document}, filters, raw_reply)
            pairs += [_without_protected(pair, filters) for pair in share_cost(result.pairs, kept)]
            rejected += withhold([*result.rejected, *dropped], filters)
    return RoundParts(
        tuple(decisions),
        tuple(pairs),
        tuple(rejected),
        usage_by_arm,
        np.concatenate(embeddings) if embeddings else None,
    )


def _without_protected(pair: QAPair, filters: Sequence[Filter]) -> QAPair:
    """The pair, whose model may have thought of an item that no record may hold."""
    if not pair.reasoning:
        return pair
    (shown,) = withhold([Rejection(pair.document_id, "reasoning", raw=pair.reasoning)], filters)
    return replace(pair, reasoning=shown.raw)


def require_a_response(extractions: Sequence[Extraction]) -> None:
    """Raise where every document of a round failed on the way: no record says then that they gave nothing.

    Args:
        extractions (`Sequence[Extraction]`): Those of the round.

    Raises:
        [`ExtractionError`]: With the first reason.
    """
    sent = [extraction for extraction in extractions if extraction.finish_reason != "budget"]
    if not sent or not all(extraction.dropped.get("transport_error") for extraction in sent):
        return
    if any(extraction.pairs for extraction in sent):
        return
    raise ExtractionError(
        f"nothing came of the {len(sent)} documents of this round: {sent[0].rejected[0].raw}. Mend the endpoint and "
        "run again: they are asked about again then."
    )
