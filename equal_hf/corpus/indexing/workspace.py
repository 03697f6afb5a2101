"""The folder of an index: where each stage keeps its pieces and their records, and what may be done in this run.

A record names what a piece was made from (`inputs`) and the size and hash of every file it left. It counts only while
all of that still holds, so whatever a kill or a full disk leaves behind is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError, RecordError, ResumeError
from equal_hf.utils.files import describe_file, write_file

_FILE = "index.json"
# What stages leave, the description last: while it is there, what else is there is known to be an index's.
_LEFT = (
    "documents read duplicates.npy duplicates.json embeddings centroids.safetensors centroids.json runs written "
    f"{_FILE}"
).split()


@dataclass
class Workspace:
    """Records of an index, and which stages may add to them.

    Args:
        folder (`Path`): `index_dir`.
        stages (`Sequence[str]`): All stages, in order.
        stage (`str`, *optional*): The only stage to be done; all where left out.
        counts (`dict[str, list[int]]`): By stage: pieces found complete and pieces made, by this process.
    """

    folder: Path
    stages: Sequence[str]
    stage: str | None = None
    counts: dict[str, list[int]] = field(default_factory=dict)

    def open(
        self, identity: Mapping[str, Any], threads: int | None, default_threads: int, *, revisable: bool = True
    ) -> int:
        """Start or take up an index in the folder.

        Args:
            identity (`Mapping[str, Any]`): What the index is of.
            threads (`int`, *optional*): Threads of each process; those of an earlier run where left out.
            default_threads (`int`): Threads where nothing says.
            revisable (`bool`, *optional*, defaults to `True`): Whether later revisions go on from here. Else what a
                stopped build of something else has left is taken up too, and pieces that do not fit are made again.

        Returns:
            `int`: Threads of each process.

        Raises:
            ResumeError: The folder holds an index of something else.
            RecordError: Its description is damaged.
        """
        path = self.folder / _FILE
        known: dict[str, Any] = {}
        if path.is_file():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                earlier = {name: known["identity"].get(name) for name in identity}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise RecordError(f"{path} is damaged ({error}): remove {self.folder} and index again") from error
            changes = ", ".join(
                f"`{name}` was {earlier[name]!r}, is {identity[name]!r}"
                for name in sorted(identity)
                if earlier[name] != identity[name]
            )
            if changes and (revisable or known.get("revisable", True)):
                raise ResumeError(f"{self.folder} holds another index: {changes}. Set `index_dir` to another folder.")
        chosen = threads or known.get("threads") or default_threads
        content = {
            "identity": dict(identity),
            "threads": chosen,
            "revisable": revisable or known.get("revisable", bool(known)),
        }
        write_file(path, json.dumps(content, indent=2))
        return int(chosen)

    def remove(self) -> None:
        """Remove what stages have left, unless later revisions go on from here; files of others stay."""
        try:
            if json.loads((self.folder / _FILE).read_text(encoding="utf-8"))["revisable"]:
                return
        except (OSError, ValueError, KeyError, TypeError):
            return
        for name in _LEFT:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        with contextlib.suppress(OSError):  # something else is in it
            self.folder.rmdir()

    def piece(
        self,
        stage: str,
        record: Path,
        inputs: Mapping[str, Any],
        make: Callable[[], tuple[Iterable[Path], Mapping[str, Any]]],
        stale: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, Any]:
        """The facts of a piece of a stage: from its record where that proves it complete, else it is made.

        Args:
            stage (`str`): One of `stages`.
            record (`Path`): Its record.
            inputs (`Mapping[str, Any]`): What it depends on.
            make (`Callable`): Makes it; gives its files and facts.
            stale (`Callable`, *optional*): Whether facts of a complete piece call for making it again, where its stage
                may be done.

        Raises:
            ConfigError: It is not complete, and only another stage may be done.
        """
        count = self.counts.setdefault(stage, [0, 0])
        facts = read_record(record, inputs)
        if facts is not None and stale is not None and self.stage in (None, stage) and stale(facts):
            record.unlink()
            facts = None
        if facts is not None:
            count[0] += 1
            return facts
        self.require(stage)
        files, made = make()
        count[1] += 1
        return write_record(record, inputs, files, made)

    def require(self, stage: str) -> None:
        """Raise [`ConfigError`] where that stage has something to do but only another may be done."""
        if self.stage is not None and stage != self.stage:
            raise ConfigError(
                f"`--stage {self.stage}` needs the stage {stage!r}, which is not complete here: run `--stage {stage}` "
                "first, or all stages without `--stage`"
            )

    def ends_after(self, stage: str) -> bool:
        """Whether what comes after a stage is not to be done."""
        return self.stage is not None and self.stages.index(stage) >= self.stages.index(self.stage)


def write_record(path: Path, inputs: Mapping[str, Any], files: Iterable[Path], facts: Mapping[str, Any]) -> dict:
    """Record that `files` are complete.

    Args:
        path (`Path`): The record.
        inputs (`Mapping[str, Any]`): What the work depends on; JSON-able.
        files (`Iterable[Path]`): Files left, on the same disk as the record.
        facts (`Mapping[str, Any]`): What else to keep; JSON-able.

    Returns:
        `dict`: The facts.
    """
    listed = {os.path.relpath(file, path.parent): describe_file(file) for file in files}
    content = {"inputs": inputs, "files": listed, "facts": facts}
    write_file(path, json.dumps(content, ensure_ascii=False))
    return dict(json.loads(json.dumps(facts)))


def read_record(path: Path, inputs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The facts of a record if it is of these inputs (`None`: of any) and its files are what it says; else `None`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if inputs is not None and content["inputs"] != json.loads(json.dumps(inputs)):
            return None
        for name, facts in content["files"].items():
            file = path.parent / name
            # The size first: it is free, and what a cut-short file gives itself away by.
            if file.stat().st_size != facts["bytes"] or describe_file(file) != facts:
                return None
        return content["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
