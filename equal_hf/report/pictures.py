"""The charts of a report as PNG files, drawn by matplotlib: for cards, slides and trackers, without a browser."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from equal_hf.errors import MissingDependencyError
from equal_hf.records.statistics import RunStatistics
from equal_hf.report.charts import (
    BLUE,
    CLUSTERS_TITLE,
    RUN_COLOURS,
    SCALE,
    LineChart,
    cluster_groups,
    line_charts,
    pull_grid,
    ranked_reasons,
    relative_sizes,
)
from equal_hf.report.run_map import ClusterMap
from equal_hf.utils.markdown import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
STYLES = ("-", ":", "--", "-.")


def draw_pictures(
    runs: Mapping[str, RunStatistics], measures: Sequence[str], where: ClusterMap | None
) -> dict[str, bytes]:
    """PNG files by name; what there is nothing to show of is left out.

    Args:
        runs (`Mapping[str, RunStatistics]`): By name, the run first, then what it is compared with.
        measures (`Sequence[str]`): Rewards to show.
        where ([`ClusterMap`], *optional*): Where clusters lie.

    Raises:
        [`MissingDependencyError`]: If matplotlib is not installed.
    """
    run = next(iter(runs.values()))
    pictures = {}
    if charts := line_charts(runs, measures):
        pictures["progress.png"] = _progress(list(charts.values()))
    if run.arms:
        pictures["pulls.png"] = _pulls(run)
    if run.rejected:
        pictures["drops.png"] = _rejections(run)
    if where is not None and where.arms:
        pictures["clusters.png"] = cluster_picture(run, where)
    return pictures


def cluster_picture(run: RunStatistics, where: ClusterMap) -> bytes:
    """The cluster map as a PNG: those never pulled in grey, the others by mean mixed reward."""
    figure, (axes,) = _figure(1, 6.4, 5.2)
    sizes = [20 + 160 * size for size in relative_sizes(where)]
    for group in cluster_groups(run, where):
        points, areas = where.points[group.members], [sizes[index] for index in group.members]
        if group.colour is None:
            drawn = axes.scatter(
                points[:, 0], points[:, 1], s=areas, label=group.name, c=group.rewards, cmap=SCALE.lower()
            )
            figure.colorbar(drawn, ax=axes, label="mean mixed reward")
        else:
            alpha = group.opacity
            axes.scatter(points[:, 0], points[:, 1], s=areas, label=group.name, color=group.colour, alpha=alpha)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="best", fontsize=8)
    axes.set_title(CLUSTERS_TITLE)
    return _png(figure)


def _progress(charts: Sequence[LineChart]) -> bytes:
    figure, all_axes = _figure(len(charts), 5.0, 3.6)
    for axes, chart in zip(all_axes, charts, strict=True):
        for line in chart.lines:
            points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
            style, colour = STYLES[line.measure % len(STYLES)], RUN_COLOURS[line.run % len(RUN_COLOURS)]
            label = _plain(line.name)
            axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", markersize=3, label=label)
        axes.set_xlabel(chart.x_title)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylabel(chart.y_title)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    return _png(figure)


def _pulls(run: RunStatistics) -> bytes:
    import numpy as np

    arms, columns, grid = pull_grid(run)
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


def _rejections(run: RunStatistics) -> bytes:
    reasons, counts = ranked_reasons(run)
    figure, (axes,) = _figure(1, 6.4, 1.0 + 0.28 * len(reasons))
    axes.barh([_plain(reason) for reason in reasons], counts, color=BLUE)
    axes.set_xlabel("rejected")
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
