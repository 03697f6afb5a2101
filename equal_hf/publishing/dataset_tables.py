"""The tables of a run's dataset: pairs, what was rejected, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from equal_hf.records.schema import PAIR_COLUMNS
from equal_hf.types import Round
from equal_hf.utils.hashing import fingerprint
from equal_hf.utils.known_secrets import mask_known

if TYPE_CHECKING:
    import pyarrow as pa

PUBLISHED_AS = {"cost": "cost_paid"}  # columns of the records that have a name of their own in the dataset


def filters_hash(run: Mapping[str, Any]) -> str:
    """Hash of the quality filters with their versions and settings; the card's fingerprint lists them in full."""
    return fingerprint(run["fingerprint"].get("filters", {}), 16)


def reward_column(name: str) -> str:
    """The column of one reward function.

    >>> reward_column("transport")
    'reward_transport'
    """
    return f"reward_{name}"


def pair_table(pairs: pa.Table, round: Round, filters: str) -> pa.Table:
    """Pairs as they are published: TRL's two columns, then the pair, its provenance, and the corpus's own columns."""
    import pyarrow as pa

    def messages(role: str, column: str) -> pa.Array:
        rows = [[{"role": role, "content": text}] for text in pairs[column].to_pylist()]
        return pa.array(rows, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))

    arms = [decision.arm for decision in round.decisions]
    columns = {"prompt": messages("user", "question"), "completion": messages("assistant", "answer")}
    columns |= {PUBLISHED_AS.get(name, name): pairs[name] for name in PAIR_COLUMNS}
    columns["filters_hash"] = _constant(filters, pairs.num_rows, "string")
    for name, values in round.rewards.items():
        by_arm = dict(zip(arms, values, strict=True))
        columns[reward_column(name)] = pa.array([by_arm[arm] for arm in pairs["cluster"].to_pylist()], pa.float64())
    for name in pairs.column_names:
        if name not in PAIR_COLUMNS:
            columns[f"document_{name}" if name in columns else name] = pairs[name]
    return pa.table(columns)


def decision_table(decisions: pa.Table, reward_record: Mapping[str, Any], names: Sequence[str]) -> pa.Table:
    """Decisions with every reward of the run, so that all rounds have the same columns."""
    import pyarrow as pa

    nothing = [None] * decisions.num_rows
    for name in names:
        values = pa.array(reward_record["rewards"].get(name, nothing), pa.float64())
        decisions = decisions.append_column(reward_column(name), values)
    decisions = decisions.append_column("reward", pa.array(reward_record.get("mixed", nothing), pa.float64()))
    loss = reward_record.get("metrics", {}).get("eval_loss")
    return decisions.append_column("eval_loss", _constant(loss, decisions.num_rows, "float64"))


def rejected_table(rejected: pa.Table, index: int, documents: Mapping[str, Mapping[str, str | None]]) -> pa.Table:
    """What was rejected, with licence and source of the documents, as far as they are recorded."""
    import pyarrow as pa

    own = [documents.get(document, {}) for document in rejected["document_id"].to_pylist()]
    for name in ("license", "source"):
        rejected = rejected.append_column(name, pa.array([row.get(name) for row in own], pa.string()))
    return rejected.append_column("round", _constant(index, rejected.num_rows, "int32"))


def _constant(value: Any, rows: int, kind: str) -> pa.Array:
    import pyarrow as pa

    return pa.array([value] * rows, getattr(pa, kind)())


def masked(table: pa.Table) -> pa.Table:
    """The table without secrets in what a model wrote: earlier versions recorded what a server echoed as it came."""
    import pyarrow as pa

    for number, name in enumerate(table.column_names):
        if name in ("question", "answer", "raw", "reasoning"):
            texts = [text if text is None else mask_known(text) for text in table[name].to_pylist()]
            table = table.set_column(
                number, table.schema.field(number), pa.array(texts, table.schema.field(number).type)
            )
    return table
