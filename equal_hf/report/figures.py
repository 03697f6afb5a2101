"""The figures of a report's page, drawn by plotly, as JSON: the page draws them, in its own colours."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from equal_hf.records.statistics import ClusterStatistics, RunStatistics
from equal_hf.report.charts import (
    BLUE,
    RUN_COLOURS,
    SCALE,
    LineChart,
    cluster_groups,
    line_charts,
    pull_grid,
    ranked_reasons,
    relative_sizes,
)
from equal_hf.report.html import Figure, graph_objects, hover, plain_figure
from equal_hf.report.run_map import ClusterMap
from equal_hf.utils.markdown import number

DASHES = ("solid", "dot", "dash", "dashdot")


def draw_figures(
    runs: Mapping[str, RunStatistics], measures: Sequence[str], where: ClusterMap, terms: Mapping[int, list[str]]
) -> dict[str, Figure]:
    """The figures by name; what there is nothing to show of is left out.

    Args:
        runs (`Mapping[str, RunStatistics]`): By name, the run first, then what it is compared with.
        measures (`Sequence[str]`): Rewards to show.
        where ([`ClusterMap`]): Where clusters lie.
        terms (`Mapping[int, list[str]]`): Top terms by cluster.

    Raises:
        [`MissingDependencyError`]: If plotly is not installed.
    """
    run = next(iter(runs.values()))
    figures = {name: _lines(chart) for name, chart in line_charts(runs, measures).items()}
    if run.arms:
        figures["pulls"], figures["yields"] = _pulls(run), _yields(run, terms)
    if where.arms:
        figures["clusters"] = _clusters(run, where, terms)
    if run.rejected:
        figures["drops"] = _rejections(run)
    return figures


def _lines(chart: LineChart) -> Figure:
    figure = graph_objects().Figure()
    for line in chart.lines:
        style = {"color": RUN_COLOURS[line.run % len(RUN_COLOURS)], "dash": DASHES[line.measure % len(DASHES)]}
        figure.add_scatter(x=line.x, y=line.y, mode="lines+markers", name=html.escape(line.name), line=style)
    figure.update_layout(xaxis_title=chart.x_title, yaxis_title=chart.y_title, showlegend=True)
    return plain_figure(figure)


def _pulls(run: RunStatistics) -> Figure:
    """Heat map of the documents drawn, by arm and round: the arms pulled most, the first of them on top."""
    arms, columns, grid = pull_grid(run)
    figure = graph_objects().Figure()
    figure.add_heatmap(
        z=grid,
        x=columns,
        y=[f"cluster {arm}" for arm in arms],
        zmin=0,
        colorscale=SCALE,
        xgap=1,
        ygap=1,
        colorbar={"title": "documents", "thickness": 12},
        hovertemplate="%{y}, round %{x}: %{z} documents<extra></extra>",
    )
    figure.update_layout(xaxis={"title": "round", "type": "category"}, yaxis={"autorange": "reversed"})
    figure.update_layout(height=max(320, 90 + 15 * len(arms)))
    return plain_figure(figure)


def _clusters(run: RunStatistics, where: ClusterMap, terms: Mapping[int, list[str]]) -> Figure:
    """The cluster map; hover tells what each cluster holds."""
    figure = graph_objects().Figure()
    sizes = relative_sizes(where)
    bar = {"title": "mean mixed reward", "thickness": 12}
    for group in cluster_groups(run, where):
        by_reward = {"color": group.rewards, "colorscale": SCALE, "showscale": True, "colorbar": bar}
        colours = by_reward if group.colour is None else {"color": group.colour, "opacity": group.opacity}
        figure.add_scatter(
            x=[float(where.points[index][0]) for index in group.members],
            y=[float(where.points[index][1]) for index in group.members],
            mode="markers",
            name=group.name,
            hovertext=[_about(where, index, run.arms.get(where.arms[index]), terms) for index in group.members],
            hoverinfo="text",
            marker={"size": [8 + 18 * sizes[index] ** 0.5 for index in group.members], **colours},
        )
    hidden = {"visible": False}
    figure.update_layout(xaxis=hidden, yaxis=hidden, height=520, showlegend=True, hovermode="closest")
    return plain_figure(figure)


def _about(where: ClusterMap, index: int, arm: ClusterStatistics | None, terms: Mapping[int, list[str]]) -> str:
    lines = [f"<b>cluster {where.arms[index]}</b>"]
    if (size := where.sizes[index]) is not None:
        lines.append(f"{size:,} documents")
    if arm is None:
        return "<br>".join([*lines, "never pulled"])
    lines.append(f"{arm.pulls} pulls, {arm.documents} documents extracted, {arm.pairs} pairs")
    lines.append(f"mean mixed reward {number(arm.reward)}")
    if words := terms.get(arm.arm):
        lines.append("terms: " + hover(", ".join(words)))
    for pair in arm.samples:
        lines.append("· " + hover(pair.question) + "<br>  → " + hover(pair.answer))
    return "<br>".join(lines)


def _rejections(run: RunStatistics) -> Figure:
    """What was rejected, by reason."""
    reasons, counts = ranked_reasons(run)
    figure = graph_objects().Figure()
    figure.add_bar(x=counts, y=[hover(reason, 60) for reason in reasons], orientation="h", marker={"color": BLUE})
    height = max(220, 110 + 26 * len(reasons))
    figure.update_layout(xaxis_title="rejected", yaxis={"type": "category"}, height=height)
    return plain_figure(figure)


def _yields(run: RunStatistics, terms: Mapping[int, list[str]]) -> Figure:
    """Yield and cost of every cluster that was pulled."""
    arms = sorted(run.arms.values(), key=lambda arm: arm.arm)
    paid = any(arm.tokens for arm in arms)
    figure = graph_objects().Figure()
    most = max(arm.documents for arm in arms) or 1
    figure.add_scatter(
        x=[arm.tokens_per_document if paid else arm.documents for arm in arms],
        y=[arm.pairs_per_document for arm in arms],
        mode="markers",
        marker={
            "size": [7 + 15 * (arm.documents / most) ** 0.5 for arm in arms],
            "color": [math.nan if arm.reward is None else arm.reward for arm in arms],
            "colorscale": SCALE,
            "colorbar": {"title": "mean mixed reward", "thickness": 12},
        },
        hovertext=[
            f"<b>cluster {arm.arm}</b><br>{arm.documents} documents, {arm.pairs} pairs, {arm.rejected} rejected"
            f"<br>{number(arm.tokens_per_document)} tokens a document<br>" + hover(", ".join(terms.get(arm.arm, [])))
            for arm in arms
        ],
        hoverinfo="text",
    )
    figure.update_layout(xaxis_title="tokens a document" if paid else "documents", yaxis_title="pairs a document")
    return plain_figure(figure)
