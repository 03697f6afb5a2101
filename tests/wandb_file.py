"""Reading back what W&B wrote offline."""

from __future__ import annotations

import struct
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
