"""Opening a run's folder: a new run, or one that goes on from its records, perhaps under changed limits."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equal_hf.extraction.protocol import PaidExtractor
from equal_hf.filters.base import remember
from equal_hf.records.changes import changed_values, require_room
from equal_hf.records.history import History
from equal_hf.utils.redaction import sanitise

logger = logging.getLogger(__name__)


def open_run(run: Any) -> History:
    """Start a run in its folder, or take up what is recorded there.

    Args:
        run ([`EqualDataCollector`]): The run; its selector and filters are fed with the recorded rounds.

    Raises:
        [`ResumeError`]: If the folder holds another run, or a limit is below what is spent.
    """
    records, run_file = run.records, run.run_file
    fingerprint, config = run.fingerprint(), sanitise(run.config) | sanitise(run.args)
    resumed = run_file.open(fingerprint, config)
    _note_corpus(run)
    if isinstance(run.extractor, PaidExtractor):
        run.extractor.begin(run_file.run_id())
        run_file.note("endpoints", run.extractor.describe())
    run.spending.require_prices()
    history = History()
    for index in records.indices():
        round = records.load(index)
        history.extracted(round)
        for pair in round.pairs:
            remember(pair, run.filters)
        run.selector.take(
            round, records.embeddings(index), records.document_embeddings(index), records.usage_by_arm(index)
        )
        if (record := records.reward_record(index)) is not None:
            run.selector.record_rewards(round, record["rewards"], record["metrics"], record.get("pair_values"))
    run.spending.on_record = history.rounds
    if resumed:
        _change(run, history, fingerprint, config)
    _note_review(run, history.rounds)
    if resumed and history.rounds:
        logger.info("Resuming %s after %d recorded rounds", run.args.output_dir, history.rounds)
    return history


def _change(run: Any, history: History, fingerprint: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Go on under changed limits, or, after a review, with another prompt or reference."""
    args, run_file = run.args, run.run_file
    changed = changed_values(run_file.read()["fingerprint"], json.loads(json.dumps(fingerprint)))
    require_room(changed, run.spending.spent(history), str(run_file.run_dir))
    goes_on = history.rounds < args.planned_rounds and bool(run.selector.remaining.sum())
    goes_on = goes_on and (args.max_documents is None or history.documents < args.max_documents)
    run_file.change(fingerprint, config, from_round=history.rounds, goes_on=goes_on)
    for name, (before, now) in changed.items():
        logger.info("From round %d on `%s` is %s; it was %s", history.rounds, name, now, before)
    changes = run_file.read().get("changes", [])
    if goes_on and changes and changes[-1]["from_round"] == history.rounds:
        history.finished = False  # the last round ended the run under earlier limits


def _note_review(run: Any, recorded: int) -> None:
    """Say where `review_after` comes too late for a review, or never comes."""
    after, planned = run.args.review_after, run.args.planned_rounds
    if after is None:
        return
    if after < recorded and run.run_file.read().get("reviewed") != after:
        logger.warning("No review: `review_after` is %d, and %d rounds are recorded already", after, recorded)
    if after > planned:
        logger.warning("No review: `review_after` is %d, and the run has %d rounds at most", after, planned)


def _note_corpus(run: Any) -> None:
    """For cards, when a run begins: later, the folder that a name is of may not be at hand."""
    from equal_hf.utils.hub_repository import hub_id

    if "corpus" not in run.run_file.read():
        name = str(run.config.get("corpus"))
        source = name if hub_id(name) and not Path(name).exists() else None
        run.run_file.note("corpus", {"documents": int(run.corpus.sizes.sum()), "hub_id": source})
