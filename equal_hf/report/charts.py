"""What each chart of a report shows, whoever draws it: plotly for the page (`figures`), matplotlib for PNG files
(`pictures`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from equal_hf.records.statistics import RunStatistics
from equal_hf.report.run_map import ClusterMap

BLUE, ORANGE, GREY = "#3f8ae0", "#d98324", "#8a8f98"
RUN_COLOURS = (BLUE, ORANGE, GREY)
SCALE = "Viridis"
MAX_HEAT_ARMS, MAX_HEAT_ROUNDS = 40, 60
CLUSTERS_TITLE = "Clusters, near each other where alike"


class Line(NamedTuple):
    """A measure of one run by round, over what had been spent; `run` and `measure` choose colour and dash."""

    name: str
    run: int
    measure: int
    x: list[int]
    y: list[float | None]  # `None` where it is not known


class LineChart(NamedTuple):
    """Titles of the axes, and one line or more."""

    x_title: str
    y_title: str
    lines: list[Line]


def line_charts(runs: Mapping[str, RunStatistics], measures: Sequence[str]) -> dict[str, LineChart]:
    """Rewards and evaluation loss over documents and over tokens spent; charts without a value are left out."""
    charts = {}
    rewards = f"mean {measures[0]} reward" if len(measures) == 1 else "mean reward"
    for what, title, names in (("reward", rewards, measures), ("loss", "evaluation loss", ("",))):
        for spent in ("documents", "tokens"):
            lines = []
            for run_index, (run_name, run) in enumerate(runs.items()):
                x = run.spent(spent)
                start = run.rounds[0].loss_before if x and what == "loss" else None
                if start is not None:  # what the untrained model had, for nothing
                    x = [0, *x]
                for index, name in enumerate(names):
                    y = [round.rewards.get(name) if name else round.eval_loss for round in run.rounds]
                    y = y if start is None else [start, *y]
                    if x and x[-1] and any(value is not None for value in y):
                        shown = run_name if len(names) == 1 else f"{run_name}: {name}"
                        lines.append(Line(shown, run_index, index, x, y))
            if lines:
                charts[f"{what}_by_{spent}"] = LineChart(f"{spent} spent", title, lines)
    return charts


def pull_grid(run: RunStatistics) -> tuple[list[int], list[str], list[list[int | None]]]:
    """The arms pulled most, the rounds (joined where they are many), and the documents drawn; `None` for none."""
    ranked = sorted(run.arms.values(), key=lambda arm: (-arm.documents, arm.arm))[:MAX_HEAT_ARMS]
    width = max(1, -(-len(run.rounds) // MAX_HEAT_ROUNDS))
    rows = {arm.arm: row for row, arm in enumerate(ranked)}
    starts = range(0, len(run.rounds), width)
    columns = [str(start) if width == 1 else f"{start}–{start + width - 1}" for start in starts]
    grid: list[list[int | None]] = [[None] * len(columns) for _ in ranked]
    for pull in run.pulls:
        if (row := rows.get(pull.arm)) is not None:
            grid[row][pull.round // width] = (grid[row][pull.round // width] or 0) + pull.documents
    return [arm.arm for arm in ranked], columns, grid


class ClusterGroup(NamedTuple):
    """Clusters that are drawn alike: `members` are indices of the [`ClusterMap`]."""

    name: str
    members: list[int]
    colour: str | None  # `None` where each is coloured by its reward
    opacity: float
    rewards: list[float]


def cluster_groups(run: RunStatistics, where: ClusterMap) -> list[ClusterGroup]:
    """Clusters never pulled, those whose pulls have no reward yet, and the others; groups without members are left
    out."""
    rewards = {index: run.arms[arm].reward for index, arm in enumerate(where.arms) if arm in run.arms}
    paid = {index: reward for index, reward in rewards.items() if reward is not None}
    never = [index for index in range(len(where.arms)) if index not in rewards]
    groups = [
        ClusterGroup("never pulled", never, GREY, 0.35, []),
        ClusterGroup("no reward yet", [index for index in rewards if index not in paid], ORANGE, 1.0, []),
        ClusterGroup("pulled", list(paid), None, 1.0, list(paid.values())),
    ]
    return [group for group in groups if group.members]


def relative_sizes(where: ClusterMap) -> list[float]:
    """Documents of each cluster as a share of the largest's."""
    largest = max((size or 1 for size in where.sizes), default=1)
    return [(size or 1) / largest for size in where.sizes]


def ranked_reasons(run: RunStatistics) -> tuple[list[str], list[int]]:
    """Reasons of rejections and how many each has, the least frequent first, as bars are drawn from below."""
    ranked = sorted(run.rejected.items(), key=lambda item: (item[1], item[0]))
    return [reason for reason, _ in ranked], [count for _, count in ranked]
