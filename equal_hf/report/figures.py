"""The figures of a report, drawn by plotly, as JSON: the page draws them, in its own colours."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from equal_hf.records.read import ArmReport, RunReport
from equal_hf.report.html import Figure, graph_objects, hover, plain_figure
from equal_hf.report.run_map import ClusterMap
from equal_hf.utils.markdown import number

BLUE, ORANGE, GREY = "#3f8ae0", "#d98324", "#8a8f98"
SCALE = "Viridis"
HEAT_ARMS, HEAT_ROUNDS = 40, 60


def lines(
    runs: Mapping[str, RunReport], measures: Sequence[str], spent: str, title: str, loss: bool = False
) -> Figure | None:
    """A measure by round of one run or several, over what was spent.

    Args:
        runs (`Mapping[str, RunReport]`): By the name that the legend shows.
        measures (`Sequence[str]`): Rewards by name; not read where `loss` asks for the evaluation loss.
        spent (`str`): `"documents"` or `"tokens"`.
        title (`str`): Name of the vertical axis.
        loss (`bool`, *optional*, defaults to `False`): Show the evaluation loss.

    Returns:
        `dict` or `None`: `None` where nothing was measured, or nothing of that kind was spent.
    """
    graph = graph_objects()
    figure = graph.Figure()
    for (name, run), colour in zip(runs.items(), (BLUE, ORANGE, GREY), strict=False):
        places = run.spent(spent)
        for measure, dash in zip(measures or ("",), ("solid", "dot", "dash", "dashdot"), strict=False):
            values = [round.eval_loss if loss else round.rewards.get(measure) for round in run.rounds]
            if not places or not places[-1] or all(value is None for value in values):
                continue
            shown = name if loss or len(measures) == 1 else f"{name}: {measure}"
            figure.add_scatter(
                x=places, y=values, mode="lines+markers", name=html.escape(shown), line={"color": colour, "dash": dash}
            )
    if not figure.data:
        return None
    figure.update_layout(xaxis_title=f"{spent} spent", yaxis_title=title, showlegend=True)
    return plain_figure(figure)


def pulls(report: RunReport) -> Figure | None:
    """Heat map of the documents drawn, by arm and round: the arms pulled most, the first of them on top."""
    arms, columns, grid = pull_grid(report)
    if not arms:
        return None
    labels = [f"cluster {arm}" for arm in arms]
    figure = graph_objects().Figure()
    figure.add_heatmap(
        z=grid,
        x=columns,
        y=labels,
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


def pull_grid(report: RunReport) -> tuple[list[int], list[str], list[list[int | None]]]:
    """The arms pulled most, the rounds (joined where they are many), and the documents drawn; `None` for none."""
    ranked = sorted(report.arms.values(), key=lambda arm: (-arm.documents, arm.arm))[:HEAT_ARMS]
    width = max(1, -(-len(report.rounds) // HEAT_ROUNDS))
    rows = {arm.arm: row for row, arm in enumerate(ranked)}
    starts = range(0, len(report.rounds), width)
    columns = [str(start) if width == 1 else f"{start}–{start + width - 1}" for start in starts]
    grid: list[list[int | None]] = [[None] * len(columns) for _ in ranked]
    for pull in report.pulls:
        if (row := rows.get(pull.arm)) is not None:
            grid[row][pull.round // width] = (grid[row][pull.round // width] or 0) + pull.documents
    return [arm.arm for arm in ranked], columns, grid


def clusters(report: RunReport, where: ClusterMap, terms: Mapping[int, list[str]]) -> Figure | None:
    """The cluster map: those never pulled in grey, the others by their mean reward; hover tells what they hold."""
    if not where.arms:
        return None
    figure = graph_objects().Figure()
    largest = max((size or 1 for size in where.sizes), default=1)

    def add(chosen: list[int], name: str, **marker: Any) -> None:
        if chosen:
            figure.add_scatter(
                x=[float(where.places[place][0]) for place in chosen],
                y=[float(where.places[place][1]) for place in chosen],
                mode="markers",
                name=name,
                hovertext=[_about(where, place, report.arms.get(where.arms[place]), terms) for place in chosen],
                hoverinfo="text",
                marker={"size": [8 + 18 * ((where.sizes[place] or 1) / largest) ** 0.5 for place in chosen], **marker},
            )

    pulled = [place for place, arm in enumerate(where.arms) if arm in report.arms]
    rewards = {place: report.arms[where.arms[place]].reward for place in pulled}
    rewarded = [place for place in pulled if rewards[place] is not None]
    add([place for place in range(len(where.arms)) if place not in rewards], "never pulled", color=GREY, opacity=0.35)
    add([place for place in pulled if rewards[place] is None], "no reward yet", color=ORANGE)
    bar = {"title": "mean reward", "thickness": 12}
    values = [rewards[place] for place in rewarded]
    add(rewarded, "pulled", color=values, colorscale=SCALE, showscale=True, colorbar=bar)
    hidden = {"visible": False}
    figure.update_layout(xaxis=hidden, yaxis=hidden, height=520, showlegend=True, hovermode="closest")
    return plain_figure(figure)


def _about(where: ClusterMap, place: int, arm: ArmReport | None, terms: Mapping[int, list[str]]) -> str:
    said = [f"<b>cluster {where.arms[place]}</b>"]
    if (size := where.sizes[place]) is not None:
        said.append(f"{size:,} documents")
    if arm is None:
        return "<br>".join([*said, "never pulled"])
    said.append(f"{arm.pulls} pulls, {arm.documents} documents extracted, {arm.pairs} pairs")
    said.append(f"mean reward {number(arm.reward)}")
    if found := terms.get(arm.arm):
        said.append("terms: " + hover(", ".join(found)))
    for pair in arm.samples:
        said.append("· " + hover(pair.question) + "<br>  → " + hover(pair.answer))
    return "<br>".join(said)


def drops(report: RunReport) -> Figure | None:
    """What was turned down, by reason."""
    if not report.dropped:
        return None
    ranked = sorted(report.dropped.items(), key=lambda item: (item[1], item[0]))
    figure = graph_objects().Figure()
    figure.add_bar(
        x=[count for _, count in ranked],
        y=[hover(reason, 60) for reason, _ in ranked],
        orientation="h",
        marker={"color": BLUE},
    )
    figure.update_layout(
        xaxis_title="turned down", yaxis={"type": "category"}, height=max(220, 110 + 26 * len(ranked))
    )
    return plain_figure(figure)


def yields(report: RunReport, terms: Mapping[int, list[str]]) -> Figure | None:
    """Yield and cost of every cluster that was pulled."""
    arms = sorted(report.arms.values(), key=lambda arm: arm.arm)
    if not arms:
        return None
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
            "colorbar": {"title": "mean reward", "thickness": 12},
        },
        hovertext=[
            f"<b>cluster {arm.arm}</b><br>{arm.documents} documents, {arm.pairs} pairs, {arm.rejected} turned down"
            f"<br>{number(arm.tokens_per_document)} tokens a document<br>" + hover(", ".join(terms.get(arm.arm, [])))
            for arm in arms
        ],
        hoverinfo="text",
    )
    figure.update_layout(xaxis_title="tokens a document" if paid else "documents", yaxis_title="pairs a document")
    return plain_figure(figure)
