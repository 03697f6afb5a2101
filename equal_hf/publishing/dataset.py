"""From the records of a run to an ordinary dataset folder, in the layout it has on the Hub.

```
README.md                          the card; configurations `default`, `rejected`, `decisions`
equal.json                         the run's id, and the metadata that the run wrote into the card
data/train/round-00007.parquet     one file a round, never changed but by what training tells of its pairs
data/rejected/round-00007.parquet
data/decisions/round-00007.parquet written again when the round's rewards are known
pictures/progress.png              shown in the card; only where matplotlib is installed
```

The same records give the same bytes; writing over an earlier export changes only what is new.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import MissingDependencyError, PublishError
from equal_hf.extraction.responses.ledger_lines import money_rows
from equal_hf.extraction.responses.store_stats import run_ledger
from equal_hf.publishing.dataset_card import dataset_card
from equal_hf.publishing.dataset_metadata import dataset_metadata
from equal_hf.publishing.previous_export import (
    CARD,
    MANIFEST,
    PreviousExport,
    default_folder,
    last_push,
    run_identities,
)
from equal_hf.records.earlier_schema import current_rejected
from equal_hf.records.json_files import read_json
from equal_hf.records.run_folder import RoundRecords, read_parquet
from equal_hf.records.schema import PAIR_COLUMNS
from equal_hf.records.statistics import RunStatistics
from equal_hf.types import Round
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import content_hash, fingerprint
from equal_hf.utils.known_secrets import mask_known

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

EMPTY, PICTURES = "empty.parquet", "pictures"
# Columns of the corpus that the card reads.
PUBLIC = ("license", "language", "lang")


# What a run has written: all there is to go by in an export of an earlier version, whose manifest lists no files.
OURS = re.compile(r"data/(?:train|rejected|decisions)/(?:round-\d{5,}|empty)\.parquet")


def dataset_files(folder: Path) -> dict[str, Path]:
    """The files of an exported dataset, by their names on the Hub: those that its manifest lists, with the manifest.

    Whatever else lies in the folder is somebody else's, and so is what a link leads to.

    Raises:
        [`PublishError`]: If one of them is missing or a link.
    """
    names = [*(PreviousExport.read(folder).manifest or {}).get("files", []), MANIFEST, CARD]
    paths = {name: folder / name for name in names}
    for path in paths.values():
        _refuse_link(folder, path)
        if not path.is_file():
            raise PublishError(f"{path} of the exported dataset is missing: export it again")
    return dict(sorted(paths.items()))


def export_dataset(
    run_dir: str | Path,
    out_dir: str | Path | None = None,
    *,
    summary: Mapping[str, Any] | None = None,
    name: str | None = None,
    previous: PreviousExport | None = None,
) -> Path:
    """Write what a run has collected so far as a dataset that `load_dataset` opens.

    Args:
        run_dir (`str` or `Path`): The run folder.
        out_dir (`str` or `Path`, *optional*): The folder to write; `run_dir/hub/dataset` by default.
        summary (`Mapping[str, Any]`, *optional*): EQUAL beside its control, for the card; by default what is in
            `run_dir/summary.json`, if anything.
        name (`str`, *optional*): The name in the card's `load_dataset` example; by default the repository that the
            folder was last pushed to, or the folder's name.
        previous ([`PreviousExport`], *optional*): The export whose card holds a person's additions; by default the one
            in `out_dir`.

    Returns:
        `Path`: The dataset folder.

    Raises:
        [`PublishError`]: If no round is recorded, or `out_dir` holds something else.
        [`RecordError`]: If a record is damaged.
    """
    records = RoundRecords(run_dir)
    indices = records.indices()
    if not indices:
        raise PublishError(f"{run_dir} holds no recorded round: point `run_dir` at a run folder, or collect first")
    folder = default_folder(run_dir) if out_dir is None else Path(out_dir)
    stats, run = RunStatistics(Path(run_dir), records.run()), run_identities(records.run())
    here = PreviousExport.read(folder)
    here.check(run, str(folder), "out_dir")
    previous = here if previous is None else previous

    filters = filters_hash(records.run())
    shards = _Shards(folder, here)
    decisions: dict[int, tuple[pa.Table, Mapping[str, Any]]] = {}
    for index in indices:
        round, reward_record = records.load(index), records.reward_record(index)
        extracted = records.folder(index) / "extracted"
        pairs = _pair_table(_masked(records.pair_table(index)), round, filters)
        metadata = {name: pairs[name].to_pylist() for name in PUBLIC if name in pairs.column_names}
        stats.add(records, index, round, metadata)
        decisions[index] = records.decision_table(index), reward_record or {"rewards": round.rewards}
        shards.add("train", index, pairs)
        rejected = _masked(current_rejected(read_parquet(extracted / "rejected.parquet")))
        shards.add("rejected", index, rejected.append_column("round", _constant(index, rejected.num_rows, "int32")))
    names = list(dict.fromkeys(name for round in stats.rounds for name in round.rewards))
    for index, (table, rewards) in decisions.items():
        shards.add("decisions", index, _decision_table(table, rewards, names))
    stats.contents, stats.money = shards.finish(), money_rows(run_ledger(run_dir, stats.run))

    if summary is None and (path := Path(run_dir) / "summary.json").exists():
        summary = read_json(path)
    pushed_to = last_push(run_dir).get("repo_id") if folder == default_folder(run_dir) else None
    pictures = _draw(run_dir)
    for picture, content in pictures.items():
        _write(folder, f"{PICTURES}/{picture}", content)
    card = dataset_card(
        stats,
        name=name or pushed_to or folder.name,
        summary=summary,
        previous=previous.card,
        written=(previous.manifest or {}).get("metadata"),
        pictures=[f"{PICTURES}/{picture}" for picture in pictures],
    )
    files = sorted([*shards.names(), *(f"{PICTURES}/{picture}" for picture in pictures)])
    manifest = {"run": run[0], "rounds": len(indices), "metadata": dataset_metadata(stats), "files": files}
    _write(folder, MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    _write(folder, CARD, mask_known(card).encode("utf-8", "replace"))
    return folder


def _draw(run_dir: str | Path) -> dict[str, bytes]:
    from equal_hf.report.write_report import run_pictures

    try:
        return run_pictures(run_dir)
    except MissingDependencyError as error:
        logger.info("The dataset card goes without pictures: %s", error)
        return {}


def filters_hash(run: Mapping[str, Any]) -> str:
    """Hash of the quality filters with their versions and settings; the card's fingerprint lists them in full."""
    return fingerprint(run["fingerprint"].get("filters", {}), 16)


def reward_column(name: str) -> str:
    """The column of one reward function.

    >>> reward_column("transport")
    'reward_transport'
    """
    return f"reward_{name}"


def _pair_table(pairs: pa.Table, round: Round, filters: str) -> pa.Table:
    """Pairs as they are published: TRL's two columns, then the pair, its provenance, and the corpus's own columns."""
    import pyarrow as pa

    def messages(role: str, column: str) -> pa.Array:
        rows = [[{"role": role, "content": text}] for text in pairs[column].to_pylist()]
        return pa.array(rows, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))

    arms = [decision.arm for decision in round.decisions]
    columns = {"prompt": messages("user", "question"), "completion": messages("assistant", "answer")}
    columns |= {name: pairs[name] for name in PAIR_COLUMNS}
    columns["filters_hash"] = _constant(filters, pairs.num_rows, "string")
    for name, values in round.rewards.items():
        by_arm = dict(zip(arms, values, strict=True))
        columns[reward_column(name)] = pa.array([by_arm[arm] for arm in pairs["cluster"].to_pylist()], pa.float64())
    for name in pairs.column_names:
        if name not in PAIR_COLUMNS:
            columns[f"document_{name}" if name in columns else name] = pairs[name]
    return pa.table(columns)


def _decision_table(decisions: pa.Table, reward_record: Mapping[str, Any], names: Sequence[str]) -> pa.Table:
    """Decisions with every reward of the run, so that all rounds have the same columns."""
    import pyarrow as pa

    nothing = [None] * decisions.num_rows
    for name in names:
        values = pa.array(reward_record["rewards"].get(name, nothing), pa.float64())
        decisions = decisions.append_column(reward_column(name), values)
    decisions = decisions.append_column("reward", pa.array(reward_record.get("mixed", nothing), pa.float64()))
    loss = reward_record.get("metrics", {}).get("eval_loss")
    return decisions.append_column("eval_loss", _constant(loss, decisions.num_rows, "float64"))


def _constant(value: Any, rows: int, kind: str) -> pa.Array:
    import pyarrow as pa

    return pa.array([value] * rows, getattr(pa, kind)())


def _masked(table: pa.Table) -> pa.Table:
    """The table without secrets in what a model wrote: earlier versions recorded what a server echoed as it came."""
    import pyarrow as pa

    for number, name in enumerate(table.column_names):
        if name in ("question", "answer", "raw", "reasoning"):
            texts = [text if text is None else mask_known(text) for text in table[name].to_pylist()]
            table = table.set_column(
                number, table.schema.field(number), pa.array(texts, table.schema.field(number).type)
            )
    return table


class _Shards:
    """Writes one file a round that has rows; where none has, an empty one that shows the columns."""

    def __init__(self, folder: Path, previous: PreviousExport) -> None:
        self.folder, self.previous = folder, previous
        self.files: dict[str, dict[str, bytes]] = {}
        self.empty: dict[str, pa.Table] = {}

    def add(self, kind: str, index: int, table: pa.Table) -> None:
        if table.num_rows:
            self._put(kind, f"round-{index:05d}.parquet", table)
        else:
            self.empty[kind] = table

    def finish(self) -> dict[str, str]:
        """Remove what earlier exports wrote and this one did not; a hash of the content, by kind."""
        for kind, table in self.empty.items():
            if kind not in self.files:
                self._put(kind, EMPTY, table)
        written, listed = set(self.names()), set((self.previous.manifest or {}).get("files", []))
        for path in (self.folder / "data").glob("*/*.parquet"):
            name = path.relative_to(self.folder).as_posix()
            # An export that was cut short is listed nowhere, but what it wrote has our names.
            if name not in written and (name in listed or OURS.fullmatch(name)) and not path.is_symlink():
                _refuse_link(self.folder, path)
                path.unlink()
        return {kind: content_hash(b"".join(files.values())) for kind, files in self.files.items()}

    def names(self) -> list[str]:
        """The files, by their names on the Hub."""
        return [f"data/{kind}/{name}" for kind, files in self.files.items() for name in files]

    def _put(self, kind: str, name: str, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, table.schema, compression="zstd") as writer:
            if table.num_rows:  # `datasets` cannot read a row group without rows
                writer.write_table(table)
        _write(self.folder, f"data/{kind}/{name}", buffer.getvalue())
        self.files.setdefault(kind, {})[name] = hashlib.sha256(name.encode() + buffer.getvalue()).digest()


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all, over no link; leave it alone if it holds that already."""
    path = folder / name
    _refuse_link(folder, path)
    if not path.exists() or path.read_bytes() != content:
        write_file(path, content)


def _refuse_link(folder: Path, path: Path) -> None:
    """Raise `PublishError` where a path, or a folder on the way to it, is a link out of the dataset's folder."""
    for part in (path, *path.parents):
        if part == folder:
            return
        if part.is_symlink():
            raise PublishError(f"{part} is a symbolic link, which is not followed: remove it, and export again")
