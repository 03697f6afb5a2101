"""Reading back what W&B wrote offline."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path


def wandb_records(path: Path) -> Iterator[object]:
    """The records of a `.wandb` file: a 7-byte header, then LevelDB log frames in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    content, at, pending = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at < len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        pending += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pending)
            yield record
            pending = b""


def wandb_rows(run_dir: Path) -> list[dict[str, object]]:
    """The history of all W&B runs below a folder, in the order they were started; media are mappings."""
    rows = []
    paths = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))
    deadline = time.monotonic() + 10
    # W&B's own process writes the end of a run to the disk some time after `finish` returned.
    while paths and not any(record.HasField("exit") for record in wandb_records(paths[-1])):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    for path in paths:
        for record in wandb_records(path):
            if record.HasField("history"):
                rows.append(_nested(record.history.item))
    return rows


def _nested(items) -> dict[str, object]:
    row: dict[str, object] = {}
    for item in items:
        name, *rest = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if rest:
            row.setdefault(name, {})[rest[0]] = value
        else:
            row[name] = value
    return row
