"""All rounds of a run without a training in between: shown, logged to the trackers and published as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.tracking.progress_view import ProgressView
from equal_hf.tracking.tracked_run import TrackedRun

if TYPE_CHECKING:
    from equal_hf.collection.collector import EqualDataCollector
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.types import Round


def collect_rounds(
    collector: EqualDataCollector,
    report_to: Sequence[str] | str,
    publisher: RoundPublisher | None = None,
    *,
    project: str,
    kind: str,
    each: Callable[[Round], None] | None = None,
    goes_on: bool = False,
) -> str | None:
    """Collect what is not on record, round by round.

    Args:
        collector ([`EqualDataCollector`]): The run.
        report_to (`list[str]` or `str`): Trackers.
        publisher ([`RoundPublisher`], *optional*): Pushes rounds as they complete.
        project, kind (`str`): As for [`TrackedRun`].
        each (`Callable`, *optional*): Called with every round once it is recorded.
        goes_on (`bool`, *optional*, defaults to `False`): Whether the run does, so that its publisher is left open.

    Returns:
        `str` or `None`: The address of the dataset, where publishing has ended.
    """
    recorded = collector.open().rounds
    tracked = TrackedRun(collector, report_to, project=project, kind=kind)
    try:
        with ProgressView(collector.args, Path(collector.args.output_dir).name, extractor=collector.extractor) as view:
            for round in collector.rounds():
                view.show(tracked.log(round), recorded=round.index < recorded)
                if each is not None:
                    each(round)
                if publisher is not None:
                    publisher.notify()
        # Before trackers are told where the dataset is, and at which revision.
        return publisher.close() if publisher is not None and not goes_on else None
    finally:
        tracked.close()
