"""The tables that a round is recorded in: pairs, rejected pairs, decisions, documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from equal_hf.types import Document, QAPair, Rejection, Round, Usage
from equal_hf.utils.hashing import content_hash
from equal_hf.utils.licences import row_licence, row_source

if TYPE_CHECKING:
    import pyarrow as pa

# Raised with every change that an earlier version could not read, or that this one cannot.
SCHEMA_VERSION = 2

# A metadata column of the corpus that carries one of these names is recorded with `document_` before it.
PAIR_COLUMNS = {
    "question": "string",
    "answer": "string",
    "document_id": "string",
    "document_hash": "string",
    "cluster": "int32",
    "round": "int32",
    "arm_score": "float64",
    "span_start": "int64",
    "span_end": "int64",
    "method": "string",
    "model": "string",
    "model_revision": "string",
    "prompt_hash": "string",
    "response_key": "string",
    "grade": "int8",
    # What the pair is worth, and by which function how much; of several targets their mean by weight.
    "value": "float64",
    "value_nearness": "float64",
    "value_nearest": "float64",
    "value_likeness": "float64",
    "value_grade": "float64",
    "value_influence": "float64",
    "cost": "float64",  # money; a transport cost is `transport` in rewards
}
# Recorded only where a run asks for it.
REASONING = "reasoning"


def metadata_column(name: str) -> str:
    """The column that a corpus column is recorded in.

    >>> metadata_column("license"), metadata_column("round")
    ('license', 'document_round')
    """
    return f"document_{name}" if name in PAIR_COLUMNS or name == REASONING else name


def pairs_table(
    round: Round, documents: Mapping[str, Document], values: Mapping[str, Sequence[float | None]]
) -> pa.Table:
    """The pairs of a round with their provenance and what they are worth: `pairs.parquet`.

    Args:
        round ([`Round`]): The round.
        documents (`Mapping[str, Document]`): The documents drawn, by id.
        values (`Mapping[str, Sequence[float | None]]`): What its pairs are worth, by column.
    """
    import pyarrow as pa

    scores = {decision.arm: decision.score for decision in round.decisions}
    rows = [
        _pair_row(pair, round.index, scores[pair.cluster], documents[pair.document_id])
        | {name: column[place] for name, column in values.items()}
        for place, pair in enumerate(round.pairs)
    ]
    reasoning = any(pair.reasoning is not None for pair in round.pairs)
    return pa.Table.from_pylist(rows, _pair_schema(documents.values(), reasoning=reasoning))


def _pair_row(pair: QAPair, index: int, score: float, document: Document) -> dict[str, Any]:
    start, end = pair.span or (None, None)
    return {
        "question": pair.question,
        "answer": pair.answer,
        "document_id": pair.document_id,
        "document_hash": content_hash(document.text, 64),
        "cluster": pair.cluster,
        "round": index,
        "arm_score": score,
        "span_start": start,
        "span_end": end,
        "method": pair.method,
        "model": pair.model,
        "model_revision": pair.model_revision,
        "prompt_hash": pair.prompt_hash,
        "response_key": pair.response_key,
        "grade": pair.grade,
        "cost": pair.cost,
        **({} if pair.reasoning is None else {REASONING: pair.reasoning}),
        **{metadata_column(name): _text(value) for name, value in document.metadata.items()},
    }


def pair_from_row(row: Mapping[str, Any]) -> QAPair:
    """The pair of a row of `pairs.parquet`."""
    span = None if row["span_start"] is None else (row["span_start"], row["span_end"])
    fields = (
        "question answer document_id cluster method model model_revision prompt_hash response_key grade cost".split()
    )
    return QAPair(**{name: row[name] for name in fields}, span=span, reasoning=row.get(REASONING))


def _pair_schema(documents: Iterable[Document], *, reasoning: bool) -> pa.Schema:
    """Metadata is text, so that shards of all rounds agree whatever they hold."""
    import pyarrow as pa

    carried = sorted({metadata_column(name) for document in documents for name in document.metadata})
    columns = PAIR_COLUMNS | ({REASONING: "string"} if reasoning else {})
    fields = [pa.field(name, getattr(pa, kind)()) for name, kind in columns.items()]
    return pa.schema([*fields, *(pa.field(name, pa.string()) for name in carried)])


def with_late_values(table: pa.Table, values: Mapping[str, list[float | None]]) -> pa.Table:
    """A table of pairs with values that came after it was recorded, by function; such as do not fit are left out."""
    import pyarrow as pa

    for name, column in values.items():
        place = table.schema.get_field_index(f"value_{name}")
        if place >= 0 and len(column) == table.num_rows:
            table = table.set_column(place, table.schema.field(place), pa.array(column, pa.float64()))
    return table


def rejections_table(rejected: Iterable[Rejection]) -> pa.Table:
    """What extraction and filters rejected in a round: `rejected.parquet`."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in ("document_id", "reason", "question", "answer", "raw")])
    return pa.Table.from_pylist([asdict(rejection) for rejection in rejected], schema)


def provenance_table(documents: Iterable[Document]) -> pa.Table:
    """What the documents drawn say of licence and source, also of those that gave no pair: `documents.parquet`."""
    import pyarrow as pa

    rows = [(document.id, row_licence(document.metadata), row_source(document.metadata)) for document in documents]
    names = ("document_id", "license", "source")
    schema = pa.schema([(name, pa.string()) for name in names])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)


def decisions_table(round: Round, usage_by_arm: Sequence[Usage]) -> pa.Table:
    """The decisions of a round, what each gave and what its documents used: `decisions.parquet`."""
    import pyarrow as pa

    schema = pa.schema(
        [
            ("round", pa.int32()),
            ("arm", pa.int32()),
            ("score", pa.float64()),
            ("documents", pa.list_(pa.string())),
            ("rows", pa.list_(pa.int64())),
            ("expected_value", pa.float64()),
            ("pairs", pa.int64()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("requests", pa.int64()),
            ("cached_tokens", pa.int64()),
            ("reasoning_tokens", pa.int64()),
        ]
    )
    rows = [
        {
            "round": round.index,
            "arm": decision.arm,
            "score": decision.score,
            "documents": list(decision.documents),
            "rows": list(decision.rows),
            "expected_value": decision.expected_value,
            "pairs": len(pairs),
            **asdict(usage),
        }
        for decision, pairs, usage in zip(round.decisions, round.pairs_by_arm(), usage_by_arm, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def installed_version() -> str:
    """The version of this package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("equal-hf")
    except PackageNotFoundError:  # a source tree that was not installed
        return "from source"
