"""Records of schema 1, which EQUAL-HF 0.1 wrote, under the names they have today.

>>> current_rewards({"worth": [1.0], "worth_gsm8k": [2.0], "loss_credit": [3.0], "transport": [4.0]})
{'value': [1.0], 'value_gsm8k': [2.0], 'loss_attribution': [3.0], 'transport': [4.0]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from equal_hf.records.schema import PAIR_COLUMNS, metadata_column
from equal_hf.utils.hashing import content_hash

if TYPE_CHECKING:
    import pyarrow as pa

DECISION_COLUMNS = {"promised": "expected_value"}
LATER_COUNTS = ("cached_tokens", "reasoning_tokens")
REWARD_FILE = "credited.json"


WITHHELD = "withheld: "  # how the text of a protected item begins in records


def current_rejected(table: pa.Table) -> pa.Table:
    """A table of rejections in which no protected item stands as text, as 0.1 still recorded it."""
    rows = table.to_pylist()
    plain = [row for row in rows if row["reason"] == "contaminated" and not row["question"].startswith(WITHHELD)]
    if not plain:
        return table
    replies = {row["raw"] for row in plain} - {""}
    for row in plain:
        row["question"] = f"{WITHHELD}repeats an item of a protected set, sha256 {content_hash(row['question'])}"
        row["answer"] = row["question"]
    for row in rows:
        if row["raw"] in replies:
            row["raw"] = f"{WITHHELD}holds an item of a protected set, sha256 {content_hash(row['raw'])}"
    return type(table).from_pylist(rows, table.schema)


def current_pairs(table: pa.Table) -> pa.Table:
    """A table of pairs with all columns of today: those that it lacks hold nothing.

    A column of the corpus that has the name of one of these was recorded under it then; it is told by holding text.
    """
    import pyarrow as pa

    recorded = {field.name: field.type for field in table.schema}
    taken = {name for name, kind in PAIR_COLUMNS.items() if kind != "string" and recorded.get(name) == pa.string()}
    table = table.rename_columns([metadata_column(name) if name in taken else name for name in table.column_names])
    for name, kind in PAIR_COLUMNS.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, getattr(pa, kind)()))
    return table


def current_decisions(table: pa.Table) -> pa.Table:
    """A table of decisions under today's column names; what was not counted then is 0."""
    import pyarrow as pa

    table = table.rename_columns([DECISION_COLUMNS.get(name, name) for name in table.column_names])
    for name in LATER_COUNTS:
        if name not in table.column_names:
            table = table.append_column(name, pa.array([0] * table.num_rows, pa.int64()))
    return table


def current_round(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `round.json` holds, under today's names."""
    earlier = {"rewards_through": facts["credited_through"]} if "credited_through" in facts else {}
    return {**facts, **earlier, "rewards": current_rewards(facts["rewards"])}


def current_rewards(rewards: Mapping[str, Any]) -> dict[str, Any]:
    """Rewards by their names of today."""
    return {
        re.sub(r"^worth(?=_|$)", "value", re.sub(r"^loss_credit$", "loss_attribution", name)): values
        for name, values in rewards.items()
    }
