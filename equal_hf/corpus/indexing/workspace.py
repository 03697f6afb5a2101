"""The folder of an index: where each stage keeps its pieces and their records, and what may be done in this run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equal_hf.corpus.indexing.config import STAGES
from equal_hf.errors import ConfigError, RecordError, ResumeError
from equal_hf.utils.files import read_record, replacing, write_record

_FILE = "index.json"
# What an index is of: another of these is another index, and wants another folder.
_IDENTITY = ("corpus", "corpus_config", "corpus_split", "text_column", "id_column", "min_characters", "seed")


@dataclass
class Workspace:
    """Records of an index, and which stages may add to them.

    Args:
        folder (`Path`): `index_dir`.
        stage (`str`, *optional*): The only stage to be done; all where left out.
        counts (`dict[str, list[int]]`): By stage: pieces found complete and pieces made, by this process.
    """

    folder: Path
    stage: str | None = None
    counts: dict[str, list[int]] = field(default_factory=dict)

    def open(self, identity: Mapping[str, Any], threads: int | None, default_threads: int) -> int:
        """Start or take up an index in the folder; the threads of each process.

        Raises:
            ResumeError: The folder holds an index of something else.
            RecordError: Its description is damaged.
        """
        path = self.folder / _FILE
        known: dict[str, Any] = {}
        if path.is_file():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                differing = {name for name in identity if known["identity"].get(name) != identity[name]}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise RecordError(f"{path} is damaged ({error}): remove {self.folder} and index again") from error
            if differing:
                told = ", ".join(
                    f"`{name}` was {known['identity'].get(name)!r}, is {identity[name]!r}"
                    for name in sorted(differing)
                )
                raise ResumeError(f"{self.folder} holds another index: {told}. Set `index_dir` to another folder.")
        chosen = threads or known.get("threads") or default_threads
        with replacing(path) as temporary:
            content = {"identity": dict(identity), "threads": chosen}
            temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
        return int(chosen)

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
            stage (`str`): One of `STAGES`.
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
        self.must(stage)
        files, made = make()
        count[1] += 1
        return write_record(record, inputs, files, made)

    def must(self, stage: str) -> None:
        """Raise [`ConfigError`] where that stage has something to do but only another may be done."""
        if self.stage is not None and stage != self.stage:
            raise ConfigError(
                f"`--stage {self.stage}` needs the stage {stage!r}, which is not complete here: run `--stage {stage}` "
                "first, or all stages without `--stage`"
            )

    def over(self, stage: str) -> bool:
        """Whether what comes after a stage is not to be done."""
        return self.stage is not None and STAGES.index(stage) >= STAGES.index(self.stage)


def identity_of(args: Any, seed: int) -> dict[str, Any]:
    """What an index is of, for `Workspace.open`."""
    return {name: seed if name == "seed" else getattr(args, name) for name in _IDENTITY}
