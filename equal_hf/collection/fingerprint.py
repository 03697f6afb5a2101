"""What decides the records of a run, as JSON that two starts of it can be compared by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from equal_hf.records.changes import ENDS
from equal_hf.selection.pair_value import weighted_pair_values
from equal_hf.utils.hashing import content_hash

if TYPE_CHECKING:
    from equal_hf.target.items import TargetItem

SETTINGS = (
    "seed num_rounds arms_per_round documents_per_arm max_documents max_prompt_tokens max_completion_tokens max_cost "
    "document_order discount target_weights decontamination_ngram"
)

# What runs did before these could be set.
EARLIER_PAIR_VALUES = {"nearness": 1.0}
EARLIER_DRAWING = {"draw_by": "cluster", "budget_in": "documents"}


def run_fingerprint(run: Any) -> dict[str, Any]:
    """Everything that decides what the records of a run hold.

    Args:
        run ([`EqualDataCollector`]): The run.
    """
    return {
        **{name: getattr(run.args, name) for name in SETTINGS.split()},
        "feedback_lag": run.feedback_lag,
        "reward_weights": dict(run.reward_weights),
        **_pair_values(run.args),
        **drawing(run.args),
        **{name: getattr(run.args, name) for name in ENDS if getattr(run.args, name) is not None},
        "bandit": run.bandit.identity(),
        "corpus": run.corpus.fingerprint,
        "embedder": run.embedder.fingerprint(),
        "extractor": run.extractor.identity(),
        "reference": {name: _digest(items) for name, items in run.targets.items()},
        "protected": _digest(run.protected),
        "filters": {filter.name: filter.identity() for filter in run.filters},
    }


def _pair_values(args: Any) -> dict[str, Any]:
    """Nothing where all is as it was before it could be set, so that runs of then are taken up."""
    weighted = weighted_pair_values(args.pair_values, args.pair_value_weights)
    return {"pair_values": weighted} if weighted != EARLIER_PAIR_VALUES else {}


def drawing(args: Any) -> dict[str, Any]:
    """How documents are drawn; nothing where all is as it was before it could be set."""
    settings = {"draw_by": args.draw_by, "budget_in": args.budget_in}
    if args.draw_by == "document":
        settings["explore"] = args.explore
    return {} if settings == EARLIER_DRAWING else settings


def _digest(items: Sequence[TargetItem]) -> str:
    return content_hash(json.dumps([[item.question, item.answer] for item in items], ensure_ascii=False))
