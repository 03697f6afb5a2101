"""The replies of one measurement, kept as they come, so that one that was killed goes on where it was.

```
evaluation/trained-target-chat.partial.jsonl    replies so far, behind a line that says what they are replies to
evaluation/trained-target-chat.jsonl            when it is done: item, reply, result found, right or not, one a line
evaluation/trained-target-chat.json             what came of it, written last
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from equal_hf.errors import RecordError
from equal_hf.records.json_files import read_json, write_json
from equal_hf.training.exact_match.generation import Reply
from equal_hf.utils.files import write_file


class ReplyFile:
    """Replies of one measurement in a run folder; used by one process.

    Args:
        folder (`Path`): Where they are kept.
        name (`str`): Names the measurement.
        identity (`Mapping[str, Any]`): What decides the replies, as JSON: another one's are not taken up.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]) -> None:
        self._identity = json.loads(json.dumps(identity))
        self._partial = folder / f"{name}.partial.jsonl"
        self._rows = folder / f"{name}.jsonl"
        self._result = folder / f"{name}.json"

    def result(self) -> dict[str, Any] | None:
        """What came of the measurement, if it is done."""
        try:
            found = read_json(self._result)
        except RecordError:
            return None
        return found["measures"] if found.get("identity") == self._identity and self._rows.exists() else None

    def replies(self) -> dict[int, Reply]:
        """The replies so far, by the item's place; those of another measurement are removed."""
        try:
            lines = self._partial.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        found: dict[int, Reply] = {}
        rows = [row for line in lines if (row := _parsed(line)) is not None]
        if rows and rows[0] == self._identity:
            found = {
                int(row["item"]): Reply(str(row["text"]), int(row["tokens"]), bool(row["ended"])) for row in rows[1:]
            }
        # Written anew: a line that was cut short by a kill must not be gone on with.
        content = [self._identity, *(_row(item, reply) for item, reply in found.items())]
        write_file(self._partial, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content))
        return found

    def add(self, replies: Mapping[int, Reply]) -> None:
        """Keep further replies, by the item's place."""
        with self._partial.open("a", encoding="utf-8") as file:
            file.writelines(
                json.dumps(_row(item, reply), ensure_ascii=False) + "\n" for item, reply in replies.items()
            )
            file.flush()
            os.fsync(file.fileno())

    def finish(self, rows: Sequence[Mapping[str, Any]], measures: Mapping[str, Any]) -> None:
        """Write what the items were, what was replied and found, and what came of it.

        Args:
            rows (`Sequence[Mapping[str, Any]]`): One an item.
            measures (`Mapping[str, Any]`): Numbers by name.
        """
        write_file(self._rows, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        write_json(self._result, {"measures": measures, "identity": self._identity})
        self._partial.unlink(missing_ok=True)


def _row(item: int, reply: Reply) -> dict[str, Any]:
    return {"item": item, **asdict(reply)}


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return None
