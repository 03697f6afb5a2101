"""The parts of a round: the documents drawn for it, and, after extraction, its decisions, pairs and usage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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


def draw_documents(
    selector: Selector, corpus: ClusteredCorpus, args: CollectorConfig, index: int, drawn: int
) -> tuple[list[tuple[Draw, list[Document]]], bool]:
    """What is drawn for a round, with its documents; and whether budget or corpus ends with it.

    Args:
        selector ([`Selector`]): Knows all rounds before.
        corpus ([`ClusteredCorpus`]): Where documents come from.
        args ([`CollectorConfig`]): Size of the round, seed and budget.
        index (`int`): The round.
        drawn (`int`): Documents of all rounds before.
    """
    budget = None if args.max_documents is None else args.max_documents - drawn
    draws = selector.draw(args.arms_per_round, args.documents_per_arm, _generator(args, index), budget)
    with_documents = [
        (draw, corpus.draw(draw.arm, len(draw.rows), order=np.array(draw.rows, dtype=np.int64))) for draw in draws
    ]
    count = sum(len(draw.rows) for draw in draws)
    return with_documents, count == budget or count == int(selector.remaining.sum())


def prefetch_documents(
    selector: Selector, corpus: ClusteredCorpus, args: CollectorConfig, index: int, draws: Sequence[Draw]
) -> None:
    """While a round is extracted, fetch what round `index` would draw if that round taught nothing.

    Args:
        selector, corpus, args, index: As of [`draw_documents`].
        draws (`Sequence[Draw]`): What the round under way drew.
    """
    if index >= args.planned_rounds or not corpus.prefetches:
        return
    then = selector.after(draws)
    pulls = then.pulls(args.arms_per_round, args.documents_per_arm, _generator(args, index))
    # The order inside a cluster may still change; twice as many of those that are first now hold most of them.
    corpus.prefetch([(pull.arm, 2 * pull.documents, 0) for pull in pulls], then.order_of)


def _generator(args: CollectorConfig, index: int) -> np.random.Generator:
    """Each round has a generator of its own, so that there is no generator state to save or to lose."""
    return np.random.default_rng([args.seed, index])


@dataclass(frozen=True, slots=True)
class RoundParts:
    """What a round is made of, and what is recorded beside it.

    Args:
        decisions (`tuple[Decision, ...]`): One per arm of which a document was extracted.
        pairs (`tuple[QAPair, ...]`): Pairs that passed the filters.
        rejected (`tuple[Rejection, ...]`): What extraction and filters rejected.
        usage_by_arm (`list[Usage]`): What each decision's documents used.
        document_embeddings (`np.ndarray` of shape `(documents, d)`, *optional*): Where selection learns from them.
        complete (`bool`): Every document that was drawn was extracted; `False` where a limit left some out.
    """

    decisions: tuple[Decision, ...]
    pairs: tuple[QAPair, ...]
    rejected: tuple[Rejection, ...]
    usage_by_arm: list[Usage]
    document_embeddings: np.ndarray | None
    complete: bool


def assemble(
    drawn: Sequence[tuple[Draw, list[Document]]],
    extractions: Sequence[Extraction],
    filters: Sequence[Filter],
    raw_reply: Callable[[QAPair], str],
) -> RoundParts:
    """Filter what was extracted and sort it by arm.

    Args:
        drawn (`Sequence[tuple[Draw, list[Document]]]`): What was drawn.
        extractions (`Sequence[Extraction]`): One a document, in the order drawn.
        filters (`Sequence[Filter]`): In the order they run.
        raw_reply (`Callable`): The reply a pair came from, for the records of rejected ones.
    """
    decisions: list[Decision] = []
    pairs: list[QAPair] = []
    rejected: list[Rejection] = []
    usage_by_arm: list[Usage] = []
    embeddings: list[np.ndarray] = []
    complete = True
    results = iter(extractions)
    for draw, batch in drawn:
        done = [result for _, result in zip(batch, results, strict=False)]
        extracted = [index for index, result in enumerate(done) if result.finish_reason != "budget"]
        complete = complete and len(extracted) == len(batch)
        if not extracted:
            continue
        ids, rows = tuple(batch[index].id for index in extracted), tuple(draw.rows[index] for index in extracted)
        decisions.append(Decision(draw.arm, draw.score, ids, rows, draw.expected_value))
        usage_by_arm.append(sum((done[index].usage for index in extracted), Usage()))
        if draw.embeddings is not None:
            embeddings.append(draw.embeddings[extracted])
        for document, result in ((batch[index], done[index]) for index in extracted):
            kept, dropped = apply_filters(result.pairs, {document.id: document}, filters, raw_reply)
            pairs += [_without_protected(pair, filters) for pair in share_cost(result.pairs, kept)]
            rejected += withhold([*result.rejected, *dropped], filters)
    return RoundParts(
        tuple(decisions),
        tuple(pairs),
        tuple(rejected),
        usage_by_arm,
        np.concatenate(embeddings) if embeddings else None,
        complete,
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
