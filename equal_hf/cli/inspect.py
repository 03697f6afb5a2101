"""`equal-hf inspect RUN`: what extraction and each filter rejected, with samples before and after.

Records hold every pair kept and everything rejected with its reason, so what came before and after each filter
follows from the order in which they ran.

>>> from equal_hf.types import Decision
>>> rejected = (Rejection("d1", "not_json", raw="Sorry."), Rejection("d2", "duplicate", "2 + 2?", "4"))
>>> round = Round(0, (Decision(0, 0.0, ("d1", "d2")),), (QAPair("2 + 2?", "4", "d2", 0),), rejected=rejected)
>>> inspection = inspect_rounds([round], ["lengths", "duplicate"])
>>> [(stage.name, stage.seen, stage.passed, stage.reasons) for stage in inspection.stages]
[('extraction', None, 2, {'not_json': 1}), ('lengths', 2, 2, {}), ('duplicate', 2, 1, {'duplicate': 1})]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from heapq import nsmallest
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.filters.reasons import FILTERS, REASONS
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.types import QAPair, Rejection, Round
from equal_hf.utils.hashing import digest
from equal_hf.utils.printable import escape

MAX_CHARACTERS = 600  # of a question, an answer or a reply on a terminal; --json has all
EXTRACTION = "extraction"


def add_parser(subparsers: Any) -> None:
    """Add `inspect` to the commands."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what extraction and each filter of a run rejected",
        description="Show what extraction and each filter of a run rejected, with samples before and after. "
        "Works while the run is going on.",
        epilog="example: equal-hf inspect runs/mistral_math --reason contaminated",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("--reason", help="only this reason, or the reasons of this filter")
    parser.add_argument("--samples", type=int, default=3, help="samples per reason (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="chooses among samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON, with texts in full")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the inspection of a run folder.

    Raises:
        [`ConfigError`]: If `--samples` is negative or `--reason` is unknown.
        [`RecordError`]: If the folder holds no run, or damaged records.
    """
    if args.samples < 0:
        raise ConfigError(f"`--samples` is {args.samples}: set it to 0 or more")
    records = RoundRecords(args.run)
    filters = list(RunFile(args.run).read()["fingerprint"].get("filters", FILTERS))
    rounds = (records.load(index) for index in records.indices())
    inspection = inspect_rounds(rounds, filters, reason=args.reason, samples=args.samples, seed=args.seed)
    encoding = sys.stdout.encoding or "utf-8"
    for line in [json.dumps(asdict(inspection), indent=2)] if args.json else render(inspection):
        print(line.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def render(inspection: Inspection) -> Iterator[str]:
    """The lines that are shown, each printable whatever documents and replies hold."""
    yield f"{inspection.rounds:,} rounds, {inspection.documents:,} documents, {inspection.pairs:,} pairs kept"
    yield ""
    yield f"{'stage':<16}{'pairs in':>10}{'out':>10}  rejected"
    for stage in inspection.stages:
        seen = "" if stage.seen is None else f"{stage.seen:,}"
        reasons = ", ".join(f"{escape(name)} {count:,}" for name, count in stage.reasons.items())
        yield f"{escape(stage.name):<16}{seen:>10}{stage.passed:>10,}  {reasons}".rstrip()
    for stage in inspection.stages:
        for name, samples in stage.rejected.items():
            if samples:
                yield ""
                yield f"== {escape(name)}: {len(samples)} of {stage.reasons[name]:,} rejected {_where(stage)}"
                for sample in samples:
                    yield from _sample_lines(sample, "")
        if stage.let_through and (stage.reasons or len(inspection.stages) == 1):  # else nothing changed
            yield ""
            yield f"== {len(stage.let_through)} of {stage.passed:,} pairs after {escape(stage.name)}"
            for sample in stage.let_through:
                fate = f"rejected as {escape(sample.reason)}" if sample.reason else "kept"
                yield from _sample_lines(sample, f", {fate} in the end")


def _where(stage: Stage) -> str:
    return "in extraction" if stage.name == EXTRACTION else f"by {escape(stage.name)}"


def _sample_lines(sample: Sample, fate: str) -> Iterator[str]:
    yield f"- document {escape(sample.document_id)}, round {sample.round}{fate}"
    for label, text in (("question", sample.question), ("answer", sample.answer), ("raw reply", sample.raw)):
        if text:
            shown = text[:MAX_CHARACTERS].split("\n")
            more = [] if len(text) <= MAX_CHARACTERS else [f"… {len(text) - MAX_CHARACTERS:,} more characters"]
            for number, line in enumerate([*map(escape, shown), *more]):
                yield f"  {label + ':' if number == 0 else '':<11}{line}".rstrip()


@dataclass(frozen=True, slots=True)
class Sample:
    """A pair, or what was rejected in place of one.

    Args:
        round (`int`): The round it was extracted in.
        document_id (`str`): The document it came from.
        reason (`str`): Why it was rejected at last; empty for a pair that was kept.
        question (`str`), answer (`str`): The pair, as far as there was one.
        raw (`str`): The raw reply, where a whole reply was rejected.
    """

    round: int
    document_id: str
    reason: str
    question: str
    answer: str
    raw: str


@dataclass(slots=True)
class Stage:
    """Extraction or one filter.

    Args:
        name (`str`): `"extraction"`, or the filter's name.
        seen (`int`, *optional*): Pairs that came to it; `None` for extraction, which sees replies.
        passed (`int`): Pairs it let through.
        reasons (`dict[str, int]`): What it rejected, counted by reason.
        rejected (`dict[str, list[Sample]]`): Samples by reason.
        let_through (`list[Sample]`): Samples of what it let through; a later filter may have turned them down.
    """

    name: str
    seen: int | None = None
    passed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, list[Sample]] = field(default_factory=dict)
    let_through: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class Inspection:
    """What [`inspect_rounds`] found.

    Args:
        rounds (`int`), documents (`int`), pairs (`int`): Rounds recorded, documents drawn, pairs kept.
        stages (`list[Stage]`): Extraction, then the filters in the order they ran.
    """

    rounds: int
    documents: int
    pairs: int
    stages: list[Stage]


def inspect_rounds(
    rounds: Iterable[Round], filters: Sequence[str], *, reason: str | None = None, samples: int = 3, seed: int = 0
) -> Inspection:
    """Count and sample what each stage of a run rejected and let through.

    One round is in memory at a time. Samples are those with the least hash of seed and content, so they do not depend
    on the order of rounds.

    Args:
        rounds (`Iterable[Round]`): The rounds.
        filters (`Sequence[str]`): Names of the filters that were on, in the order in which they ran.
        reason (`str`, *optional*): Show this reason only, or all reasons of the filter of this name.
        samples (`int`, *optional*, defaults to `3`): Samples per reason, and per stage of what it let through.
        seed (`int`, *optional*, defaults to `0`): Chooses among samples.

    Raises:
        [`ConfigError`]: If no filter has such a reason and nothing was rejected for it.
    """
    owners = {name: filter for filter in filters for name in REASONS.get(filter, (filter,))}
    indices = {name: index for index, name in enumerate((EXTRACTION, *filters))}
    rejected: dict[str, _Chosen] = {}
    let_through = [_Chosen(samples, seed) for _ in indices]
    counts: Counter[str] = Counter()
    rounds_read = documents = pairs = 0
    for round in rounds:
        rounds_read += 1
        documents += round.documents
        pairs += len(round.pairs)
        items: list[QAPair | Rejection] = [*round.pairs, *round.rejected]
        for item in items:
            sample = _to_sample(item, round.index)
            ended = indices[owners.get(sample.reason, EXTRACTION)] if sample.reason else len(indices)
            for chosen in let_through[:ended]:
                chosen.offer(sample)
            if sample.reason:
                counts[sample.reason] += 1
                rejected.setdefault(sample.reason, _Chosen(samples, seed)).offer(sample)
    stages = [Stage(name) for name in indices]
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        stage = stages[indices[owners.get(name, EXTRACTION)]]
        stage.reasons[name] = count
        stage.rejected[name] = rejected[name].best()
    left = pairs
    for stage, chosen in reversed(list(zip(stages, let_through, strict=True))):
        stage.passed, stage.let_through = left, chosen.best()
        if stage.name != EXTRACTION:
            left = stage.seen = left + sum(stage.reasons.values())
    return Inspection(rounds_read, documents, pairs, stages if reason is None else _only(stages, reason, owners))


def _only(stages: list[Stage], wanted: str, owners: Mapping[str, str]) -> list[Stage]:
    """The stages that have a reason or a name, showing nothing else."""
    known = {name for stage in stages for name in (stage.name, *stage.reasons)} | set(owners)
    if wanted not in known:
        close = get_close_matches(wanted, known, n=1)
        raise ConfigError(
            f"nothing was rejected for {wanted!r}, and no filter of this run has such a reason: "
            + (f"did you mean `{close[0]}`?" if close else f"choose from {', '.join(sorted(known))}")
        )
    shown = [stage for stage in stages if wanted in (stage.name, *stage.reasons) or owners.get(wanted) == stage.name]
    for stage in shown:
        if wanted != stage.name:
            stage.reasons = {name: count for name, count in stage.reasons.items() if name == wanted}
            stage.rejected = {name: items for name, items in stage.rejected.items() if name == wanted}
    return shown


def _to_sample(item: QAPair | Rejection, index: int) -> Sample:
    reason, raw = (item.reason, item.raw) if isinstance(item, Rejection) else ("", "")
    return Sample(index, item.document_id, reason, item.question, item.answer, raw)


class _Chosen:
    """The samples with the least hash among those offered."""

    def __init__(self, wanted: int, seed: int) -> None:
        self._wanted, self._seed = wanted, seed
        self._samples: list[tuple[bytes, int, Sample]] = []
        self._offered = 0

    def offer(self, sample: Sample) -> None:
        content = f"{self._seed}\n{sample.document_id}\n{sample.question}\n{sample.answer}\n{sample.raw}"
        self._offered += 1
        self._samples.append((digest(content, 8), self._offered, sample))
        if len(self._samples) > 1000 + self._wanted:
            self._samples = nsmallest(self._wanted, self._samples)

    def best(self) -> list[Sample]:
        return [sample for _, _, sample in nsmallest(self._wanted, self._samples)]
