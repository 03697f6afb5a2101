"""The figures of a report as PNG files, drawn by matplotlib: for cards, slides and trackers, without a browser."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from equal_hf.errors import MissingDependencyError
from equal_hf.records.read import RunReport
from equal_hf.report.figures import BLUE, GREY, ORANGE, SCALE, pull_grid
from equal_hf.report.run_map import ClusterMap
from equal_hf.utils.markdown import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110


def draw_pictures(
    runs: Mapping[str, RunReport], measures: Sequence[str], where: ClusterMap | None
) -> dict[str, bytes]:
    """PNG files by name; what there is nothing to show of is left out.

    Args:
        runs (`Mapping[str, RunReport]`): By name, the run first, then what it is compared with.
        measures (`Sequence[str]`): Rewards to show.
        where ([`ClusterMap`], *optional*): Where clusters lie.

    Raises:
        [`MissingDependencyError`]: If matplotlib is not installed.
    """
    report = next(iter(runs.values()))
    pictures = {"progress.png": _progress(runs, measures), "pulls.png": _pulls(report), "drops.png": _drops(report)}
    pictures["clusters.png"] = cluster_picture(report, where) if where is not None else None
    return {name: content for name, content in pictures.items() if content is not None}


def cluster_picture(report: RunReport, where: ClusterMap) -> bytes | None:
    """The cluster map as a PNG: those never pulled in grey, the others by mean reward."""
    if not where.arms:
        return None
    figure, (axes,) = _figure(1, 6.4, 5.2)
    largest = max((size or 1 for size in where.sizes), default=1)
    sizes = [20 + 160 * (size or 1) / largest for size in where.sizes]
    rewards = [report.arms[arm].reward if arm in report.arms else None for arm in where.arms]

    def show(chosen: list[int], **style: Any) -> Any:
        places = where.places[chosen]
        return axes.scatter(places[:, 0], places[:, 1], s=[sizes[place] for place in chosen], **style)

    never = [place for place, arm in enumerate(where.arms) if arm not in report.arms]
    waiting = [place for place, arm in enumerate(where.arms) if arm in report.arms and rewards[place] is None]
    rewarded = [place for place, reward in enumerate(rewards) if reward is not None]
    show(never, color=GREY, alpha=0.3, linewidths=0, label="never pulled")
    if waiting:
        show(waiting, color=ORANGE, label="no reward yet")
    if rewarded:
        drawn = show(rewarded, c=[rewards[place] for place in rewarded], cmap=SCALE.lower(), label="pulled")
        figure.colorbar(drawn, ax=axes, label="mean reward")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="best", fontsize=8)
    axes.set_title("Clusters, near each other where alike")
    return _png(figure)


def _progress(runs: Mapping[str, RunReport], measures: Sequence[str]) -> bytes | None:
    """Rewards and loss over documents and over tokens, as far as there are any."""
    panels = [
        (spent, loss)
        for loss in (False, True)
        for spent in ("documents", "tokens")
        if any(run.spent(spent)[-1:] > [0] for run in runs.values())
        and any(
            any(value is not None for value in ([round.eval_loss] if loss else map(round.rewards.get, measures)))
            for run in runs.values()
            for round in run.rounds
        )
    ]
    if not panels:
        return None
    figure, all_axes = _figure(len(panels), 5.0, 3.6)
    for axes, (spent, loss) in zip(all_axes, panels, strict=True):
        for (name, run), colour in zip(runs.items(), (BLUE, ORANGE, GREY), strict=False):
            for measure, style in zip(["loss"] if loss else measures, ("-", ":", "--", "-."), strict=False):
                values = [round.eval_loss if loss else round.rewards.get(measure) for round in run.rounds]
                points = [(x, y) for x, y in zip(run.spent(spent), values, strict=True) if y is not None]
                if points:
                    shown = name if loss or len(measures) == 1 else f"{name}: {_plain(measure)}"
                    axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", markersize=3, label=shown)
        axes.set_xlabel(f"{spent} spent")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylabel("evaluation loss" if loss else "mean reward")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    return _png(figure)


def _pulls(report: RunReport) -> bytes | None:
    import numpy as np

    arms, columns, grid = pull_grid(report)
    if not arms:
        return None
    figure, (axes,) = _figure(1, 6.4, max(2.6, 1.2 + 0.16 * len(arms)))
    values = np.array([[np.nan if value is None else float(value) for value in row] for row in grid])
    drawn = axes.imshow(values, aspect="auto", cmap=SCALE.lower(), vmin=0, interpolation="none")
    axes.set_yticks(range(len(arms)), [str(arm) for arm in arms], fontsize=7)
    step = max(1, len(columns) // 10)
    axes.set_xticks(range(0, len(columns), step), columns[::step], fontsize=8)
    axes.set_xlabel("round")
    axes.set_ylabel("cluster")
    figure.colorbar(drawn, ax=axes, label="documents drawn")
    return _png(figure)


def _drops(report: RunReport) -> bytes | None:
    if not report.dropped:
        return None
    ranked = sorted(report.dropped.items(), key=lambda item: (item[1], item[0]))
    figure, (axes,) = _figure(1, 6.4, 1.0 + 0.28 * len(ranked))
    axes.barh([_plain(reason) for reason, _ in ranked], [count for _, count in ranked], color=BLUE)
    axes.set_xlabel("turned down")
    return _png(figure)


def _figure(panels: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    try:
        from matplotlib.figure import Figure  # not pyplot, which keeps state and wants the main thread
    except ImportError as error:
        raise MissingDependencyError(
            'pictures are drawn with matplotlib, which is not installed: pip install "equal-hf[report]"'
        ) from error
    columns = min(2, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for spare in all_axes[panels:]:
        spare.set_visible(False)
    return figure, all_axes[:panels]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """A name from the records as a label: matplotlib reads what stands between dollar signs as mathematics."""
    return visible(text)[:40].replace("$", "\\$")
