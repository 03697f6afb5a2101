"""`write_report`: one self-contained HTML page about a run, and its figures as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from equal_hf.errors import PublishError
from equal_hf.extraction.responses.ledger_lines import money_rows
from equal_hf.extraction.responses.store_stats import run_ledger
from equal_hf.records.statistics import RunStatistics, read_run
from equal_hf.report.run_map import arm_terms, cluster_map, document_of, find_corpus
from equal_hf.report.sample_pairs import best_and_worst, reviewed_pairs
from equal_hf.utils.files import write_file

PAGE = "report.html"
REWARDS_FIRST = ("transport", "value")  # known with and without a trainer, so that two runs can be compared


def write_report(
    run_dir: str | Path,
    out_dir: str | Path | None = None,
    *,
    corpus: str | Path | None = None,
    control: str | Path | None = None,
    pictures: bool = True,
) -> Path:
    """Write what a run has done so far as one HTML page that needs no network, and its figures as PNG files.

    Args:
        run_dir (`str` or `Path`): The run folder; the run may be going on.
        out_dir (`str` or `Path`, *optional*): Where to; `report` in the run folder where left out.
        corpus (`str` or `Path`, *optional*): Folder of the clustered corpus, where it is not where the run had it.
            Without a corpus, clusters lie by their pairs, and documents are named but not shown.
        control (`str` or `Path`, *optional*): Run folder to compare with; `control` in the run folder where left out.
        pictures (`bool`, *optional*, defaults to `True`): Whether to draw PNG files.

    Returns:
        `Path`: The page.

    Raises:
        [`PublishError`]: If no round is recorded yet.
        [`RecordError`]: If a folder holds no run, or damaged records.
        [`MissingDependencyError`]: If plotly, or matplotlib for pictures, is not installed.
    """
    from equal_hf.report.page import render
    from equal_hf.report.pictures import draw_pictures

    report = read_run(run_dir)
    if not report.rounds:
        raise PublishError(
            f"{run_dir} holds no recorded round yet: wait for the first one, or name another run folder"
        )
    runs = {"EQUAL": report} | _control(report, control)
    clustered, problem = find_corpus(report, corpus)
    where = cluster_map(report, clustered)
    terms = arm_terms(report)
    best, worst = best_and_worst(report)
    pairs = {"best": best, "worst": worst} | reviewed_pairs(report)
    documents = {
        (shown.round, shown.pair.document_id): document_of(shown, clustered)
        for shown in (one for chosen in pairs.values() for one in chosen)
    }
    folder = Path(out_dir) if out_dir is not None else report.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    measures = shown_rewards(runs)
    money = money_rows(run_ledger(report.folder, report.run))
    page = render(runs, measures, where, terms, pairs, documents, problem, money)
    write_file(folder / PAGE, page.encode("utf-8", "replace"))
    if pictures:
        for name, content in draw_pictures(runs, measures, where).items():
            write_file(folder / name, content)
    return folder / PAGE


def run_pictures(run_dir: str | Path) -> dict[str, bytes]:
    """The PNG files of a run's report, by name, for a dataset card.

    Args:
        run_dir (`str` or `Path`): The run folder.

    Raises:
        [`MissingDependencyError`]: If matplotlib is not installed.
    """
    from equal_hf.report.pictures import draw_pictures

    report = read_run(run_dir)
    runs = {"EQUAL": report} | _control(report, None)
    return draw_pictures(runs, shown_rewards(runs), cluster_map(report, find_corpus(report, ask_hub=False)[0]))


def shown_rewards(runs: Mapping[str, RunStatistics]) -> list[str]:
    """The rewards that are drawn: those known at extraction, else whatever the run was paid by."""
    names = next(iter(runs.values())).reward_names()
    return [name for name in REWARDS_FIRST if name in names] or names[:2]


def _control(report: RunStatistics, control: str | Path | None) -> dict[str, RunStatistics]:
    folder = Path(control) if control is not None else report.folder / "control"
    if control is None and not (folder / "run.json").is_file():
        return {}
    other = read_run(folder)
    return {"uniform control" if control is None else folder.name: other} if other.rounds else {}
