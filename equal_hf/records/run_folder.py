"""The rounds of a run: two atomic records each, and everything a run knows is a fold over them.

```
run.json                              what the run is ([`equal_hf.records.run_file`])
rounds/round-00007/extracted/         before training: decisions, pairs and their embeddings, drops, usage, rewards
rounds/round-00007/rewards.json       after evaluation: all rewards and metrics
```

A record is written under a temporary name, flushed to the disk and renamed, so it is there whole or not at all.
Parquet, JSON and safetensors only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.errors import RecordError
from equal_hf.records.earlier_schema import (
    REWARD_FILE,
    current_decisions,
    current_pairs,
    current_rewards,
    current_round,
)
from equal_hf.records.json_files import check_rewards, read_json, reading, write_json
from equal_hf.records.schema import (
    PAIR_COLUMNS,
    decisions_table,
    pair_from_row,
    pairs_table,
    provenance_table,
    rejections_table,
    with_late_values,
)
from equal_hf.types import Decision, Document, Rejection, Round, Usage
from equal_hf.utils.files import new_folder
from equal_hf.utils.licences import row_licence, row_source

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER = re.compile(r"round-(\d{5,})")


class RoundRecords:
    """Reads and writes the rounds of one run folder.

    Args:
        run_dir (`str` or `Path`): The run folder; created by the first write.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)

    def indices(self) -> list[int]:
        """The rounds that are recorded, in order.

        Raises:
            [`RecordError`]: If one is missing between others.
        """
        folder = self.run_dir / "rounds"
        if not folder.is_dir():
            return []
        names = (_FOLDER.fullmatch(path.name) for path in folder.iterdir() if (path / "extracted").is_dir())
        indices = sorted(int(match[1]) for match in names if match)
        if indices != list(range(len(indices))):
            missing = next(i for i, index in enumerate(indices) if i != index)
            raise RecordError(f"round {missing} is missing from {folder}: restore it, or start a new run elsewhere")
        return indices

    def clear_unfinished(self) -> None:
        """Remove what a process left that was killed while it wrote a record."""
        for leftover in (self.run_dir / "rounds").glob("round-*/.*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def folder(self, index: int) -> Path:
        """The folder of one round."""
        return self.run_dir / "rounds" / f"round-{index:05d}"

    def write_extracted(
        self,
        round: Round,
        embeddings: np.ndarray,
        documents: Mapping[str, Document],
        usage_by_arm: list[Usage],
        document_embeddings: np.ndarray | None = None,
        pair_values: Mapping[str, Sequence[float | None]] | None = None,
    ) -> None:
        """Record a round as extraction left it.

        Args:
            round ([`Round`]): The round, with the rewards known so far.
            embeddings (`np.ndarray` of shape `(pairs, d)`): Embeddings of its pairs.
            documents (`Mapping[str, Document]`): The documents drawn, by id, for provenance.
            usage_by_arm (`list[Usage]`): What each decision's documents used.
            document_embeddings (`np.ndarray` of shape `(documents, d)`, *optional*): Embeddings of the documents,
                where selection learns from them.
            pair_values (`Mapping[str, Sequence[float | None]]`, *optional*): What its pairs are worth, by column.
        """
        import pyarrow.parquet as pq
        from safetensors.numpy import save_file

        tables = {
            "pairs": pairs_table(round, documents, pair_values or {}),
            "rejected": rejections_table(round.rejected),
            "decisions": decisions_table(round, usage_by_arm),
            "documents": provenance_table(documents.values()),
        }
        arrays = {"pairs": embeddings} | ({} if document_embeddings is None else {"documents": document_embeddings})
        tensors = {name: np.ascontiguousarray(vectors, dtype=np.float32) for name, vectors in arrays.items()}
        with new_folder(self.folder(round.index) / "extracted") as building:
            for name, table in tables.items():
                pq.write_table(table, building / f"{name}.parquet")
            save_file(tensors, building / "embeddings.safetensors")
            write_json(
                building / "round.json",
                {
                    "index": round.index,
                    "rewards_through": round.rewards_through,
                    "last": round.last,
                    "refused": round.refused,
                    "documents": round.documents,
                    "pairs": len(round.pairs),
                    "usage": asdict(round.usage),
                    "dropped": round.dropped,
                    "rewards": {name: list(values) for name, values in round.rewards.items()},
                },
            )

    def load(self, index: int) -> Round:
        """One round as it was extracted.

        Raises:
            [`RecordError`]: If the record is damaged.
        """
        folder = self.folder(index) / "extracted"
        rejected = read_parquet(folder / "rejected.parquet")
        decisions = self.decision_table(index).to_pylist()
        pairs = self.pair_table(index)
        with reading(folder / "decisions.parquet"):
            made = tuple(
                Decision(row["arm"], row["score"], tuple(row["documents"]), tuple(row["rows"]), row["expected_value"])
                for row in decisions
            )
        with reading(folder / "pairs.parquet"):
            kept = tuple(pair_from_row(row) for row in pairs.to_pylist())
        with reading(folder / "rejected.parquet"):
            dropped = tuple(Rejection(**row) for row in rejected.to_pylist())
        path = folder / "round.json"
        facts = read_json(path)
        with reading(path):
            facts = current_round(facts)
            check_rewards(facts, len(made))
            refused = facts.get("refused", 0)  # where one was, rounds of earlier versions were cut and the last
            numbers = [facts["index"], facts["rewards_through"], refused, *facts["usage"].values()]
            if not all(isinstance(number, int) for number in numbers):
                raise TypeError("`index`, `rewards_through`, `refused` and `usage` are not whole numbers")
            return Round(
                index=facts["index"],
                decisions=made,
                pairs=kept,
                usage=Usage(**facts["usage"]),
                rewards=facts["rewards"],
                rejected=dropped,
                rewards_through=facts["rewards_through"],
                last=facts["last"],
                refused=refused,
            )

    def pair_table(self, index: int) -> pa.Table:
        """The pairs of one round, one row each, with what was learned of them since."""
        table = current_pairs(read_parquet(self.folder(index) / "extracted" / "pairs.parquet"))
        late = (self.reward_record(index) or {}).get("pair_values", {})
        return with_late_values(table, late)

    def provenance(self, index: int) -> dict[str, dict[str, str | None]]:
        """`license` and `source` of the documents of one round, by id; of a round that an earlier version recorded, of
        those that gave pairs."""
        path = self.folder(index) / "extracted" / "documents.parquet"
        if path.exists():
            with reading(path):
                return {row.pop("document_id"): row for row in read_parquet(path).to_pylist()}
        return {
            row["document_id"]: {"license": row_licence(row), "source": row_source(row)}
            for row in self.pair_table(index).drop_columns(list(PAIR_COLUMNS)[:2] + list(PAIR_COLUMNS)[3:]).to_pylist()
        }

    def decision_table(self, index: int) -> pa.Table:
        """The decisions of one round, one row each."""
        return current_decisions(read_parquet(self.folder(index) / "extracted" / "decisions.parquet"))

    def usage_by_arm(self, index: int) -> list[Usage]:
        """What each decision's documents used in one round."""
        columns = [field.name for field in fields(Usage)]
        with reading(self.folder(index) / "extracted" / "decisions.parquet"):
            return [Usage(**row) for row in self.decision_table(index).select(columns).to_pylist()]

    def embeddings(self, index: int) -> np.ndarray:
        """Embeddings of one round's pairs, shape `(pairs, d)`."""
        tensors = self._tensors(index)
        with reading(self._tensor_path(index)):
            return tensors["pairs"]

    def pair_values(self, index: int) -> np.ndarray | None:
        """What one round's pairs were worth when it was recorded, shape `(pairs,)`; `None` where that is not known."""
        path = self.folder(index) / "extracted" / "pairs.parquet"
        table = read_parquet(path)
        if "value" not in table.column_names:
            return None
        with reading(path):
            return np.nan_to_num(table["value"].to_numpy(zero_copy_only=False).astype(np.float64))

    def document_embeddings(self, index: int) -> np.ndarray | None:
        """Embeddings of one round's documents, shape `(documents, d)`; `None` where they were not recorded."""
        return self._tensors(index).get("documents")

    def _tensors(self, index: int) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file

        with reading(path := self._tensor_path(index)):
            return load_file(path)

    def _tensor_path(self, index: int) -> Path:
        return self.folder(index) / "extracted" / "embeddings.safetensors"

    def write_reward_record(self, index: int, record: Mapping[str, Any]) -> None:
        """Record the rewards of a round by name, their mixture, and the metrics they come from."""
        write_json(self.folder(index) / "rewards.json", {"index": index, **record})

    def reward_record(self, index: int) -> dict[str, Any] | None:
        """The recorded rewards of a round, or `None` before they are known."""
        for name in ("rewards.json", REWARD_FILE):
            if (path := self.folder(index) / name).exists():
                record, decisions = read_json(path), self.folder(index) / "extracted" / "decisions.parquet"
                with reading(path):
                    check_rewards({"mixed": record["mixed"], **record}, _rows(decisions))
                    return record | {"rewards": current_rewards(record["rewards"])}
        return None


def read_parquet(path: Path) -> pa.Table:
    """A table of a run, without metadata of its schema.

    Raises:
        [`RecordError`]: If it is missing or damaged.
    """
    import pyarrow.parquet as pq

    with reading(path):
        return pq.read_table(path).replace_schema_metadata(None)


def _rows(path: Path) -> int | None:
    """How many rows a Parquet file has, from its footer; `None` where there is no file."""
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    with reading(path):
        return int(pq.read_metadata(path).num_rows)
