"""The HTML page of a report. Everything in it is escaped by the template, and a policy lets no other script run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any

from equal_hf.records.statistics import RunStatistics
from equal_hf.report.figures import draw_figures
from equal_hf.report.html import render_page
from equal_hf.report.run_map import ClusterMap
from equal_hf.report.sample_pairs import RewardedPair
from equal_hf.utils.markdown import number, visible

DOCUMENT_CHARACTERS = 4_000
TEXT_CHARACTERS = 1_500
SHOWN_ARMS = 50


def render(
    runs: Mapping[str, RunStatistics],
    measures: Sequence[str],
    where: ClusterMap,
    terms: Mapping[int, list[str]],
    pairs: Mapping[str, Sequence[RewardedPair]],
    documents: Mapping[tuple[int, str], str | None],
    no_corpus: str,
    money: Sequence[tuple[str, float]] = (),
) -> str:
    """The page.

    Args:
        runs (`Mapping[str, RunStatistics]`): The run, then what it is compared with, by the names to show.
        measures (`Sequence[str]`): Rewards to draw.
        where ([`ClusterMap`]): Where clusters lie.
        terms (`Mapping[int, list[str]]`): Top terms by cluster.
        pairs (`Mapping[str, Sequence[RewardedPair]]`): Pairs to show, by the title above them.
        documents (`Mapping`): Texts of documents by round and id.
        no_corpus (`str`): Why the corpus is not at hand; empty where it is.
        money (`Sequence[tuple[str, float]]`): What was paid: for what, and how much.
    """
    report = next(iter(runs.values()))
    drawn = draw_figures(runs, measures, where, terms)
    ranked = sorted(report.arms.values(), key=lambda arm: (-arm.documents, arm.arm))
    return render_page(
        _template(),
        drawn,
        filters={"number": number, "shown": _shown},
        report=report,
        name=report.folder.resolve().name,
        sections=[section for section in _SECTIONS if any(figure in drawn for figure in section[2])],
        bought=_bought(runs, measures, money),
        arms=ranked[:SHOWN_ARMS],
        terms=terms,
        lists=[(title, _cards(chosen, documents)) for title, chosen in pairs.items()],
        document_characters=DOCUMENT_CHARACTERS,
        no_corpus=no_corpus,
        in_progress=_progress(report),
    )


_SECTIONS = [
    (
        "What the budget bought",
        "Mean reward of each round's arms, and the evaluation loss after it, by what had been spent.",
        ("reward_by_documents", "reward_by_tokens", "loss_by_documents", "loss_by_tokens"),
    ),
    ("Where it went", "Documents drawn from each cluster, round by round; the clusters drawn from most.", ("pulls",)),
    (
        "Clusters",
        "Clusters that are alike lie near each other. Hover, or touch, to see what one holds.",
        ("clusters",),
    ),
    ("Yield and cost of each cluster", "Every cluster that was pulled; larger ones gave more documents.", ("yields",)),
    ("Rejections", "By extraction and by the quality filters.", ("drops",)),
]


def _bought(
    runs: Mapping[str, RunStatistics], measures: Sequence[str], money: Sequence[tuple[str, float]]
) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """What each run spent and got, side by side: header and rows."""
    all_runs = list(runs.values())
    usages = [run.usage for run in all_runs]

    def share(part: float, of: float) -> float | None:
        return part / of if of else None

    rows: list[tuple[str, list[Any]]] = [
        ("rounds", [len(run.rounds) for run in all_runs]),
        ("documents", [run.documents for run in all_runs]),
        ("pairs kept", [run.pairs for run in all_runs]),
        ("pairs a document", [share(run.pairs, run.documents) for run in all_runs]),
        ("rejected", [run.rejected.total() for run in all_runs]),
    ]
    if any(run.tokens for run in all_runs):
        rows += [
            ("prompt tokens", [usage.prompt_tokens for usage in usages]),
            ("prompt tokens that were cached", [usage.cached_tokens for usage in usages]),
            ("completion tokens", [usage.completion_tokens for usage in usages]),
            ("completion tokens that were thoughts", [usage.reasoning_tokens for usage in usages]),
            ("tokens a pair", [share(run.tokens, run.pairs) for run in all_runs]),
        ]
        shares = [dict(run.kept_shares) for run in all_runs]
        rows += [(name, [told.get(name) for told in shares]) for name in dict.fromkeys(chain(*shares))]
    rows += _useful(all_runs)
    rows += [(visible(name), [paid, *([None] * (len(all_runs) - 1))]) for name, paid in money]
    for name in measures:
        rows.append((f"mean {name} reward", [_mean_reward(run, name) for run in all_runs]))
    before = [run.rounds[0].loss_before if run.rounds else None for run in all_runs]
    if any(before):
        rows.append(("evaluation loss before the first round", before))
    losses = [[round.eval_loss for round in run.rounds if round.eval_loss is not None] for run in all_runs]
    if any(losses):
        rows.append(("last evaluation loss", [known[-1] if known else None for known in losses]))
    if any(judged := [run.run.get("reliability", {}) for run in all_runs]):
        names = dict.fromkeys(name for told in judged for name in told)
        for name in names:
            why = next((f" ({told[name]['why']})" for told in judged if told.get(name, {}).get("why")), "")
            rows.append((f"reliability of {name}s{why}", [told.get(name, {}).get("weight") for told in judged]))
    return list(runs), rows


def _useful(runs: Sequence[RunStatistics]) -> list[tuple[str, list[Any]]]:
    """Useful pairs, and what the rest of the budget is expected to buy as of the last round."""
    found = [[round.useful_pairs for round in run.rounds if round.useful_pairs is not None] for run in runs]
    if not any(found):
        return []
    rows: list[tuple[str, list[Any]]] = [("useful pairs", [sum(known) if known else None for known in found])]
    last = [run.rounds[-1].forecast if run.rounds else None for run in runs]
    if not any(last):
        return rows
    rows.append(("share found of what the budget can find", [of and of["found_share"] for of in last]))
    shares = next(of for of in last if of)["ahead"]
    for place, part in enumerate(shares):
        label = f"useful pairs in the next {part['share']:.0%} of the rest of the budget"
        rows.append((label, [of and _interval(of["ahead"][place]) for of in last]))
    if any(of and of["cost_per_useful_pair"] is not None for of in last):
        rows.append(("cost of each of the next useful pairs", [of and of["cost_per_useful_pair"] for of in last]))
    return rows


def _interval(part: Mapping[str, float]) -> str:
    return f"{part['useful']:,.0f} ({part['low']:,.0f} to {part['high']:,.0f})"


def _mean_reward(run: RunStatistics, name: str) -> float | None:
    """Mean over documents, as each round drew as many."""
    known = [(round.rewards[name], round.documents) for round in run.rounds if round.rewards.get(name) is not None]
    documents = sum(count for _, count in known)
    return sum((value or 0.0) * count for value, count in known) / documents if documents else None


def _progress(report: RunStatistics) -> list[tuple[str, int | float, int | float]]:
    """What was spent of each budget that was set: name, spent, budget."""
    wanted = report.run.get("fingerprint", {})
    usages = [round.usage for round in report.rounds]
    spent = {
        "num_rounds": len(report.rounds),
        "max_documents": report.documents,
        "max_prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "max_completion_tokens": sum(usage.completion_tokens for usage in usages),
    }
    return [(name, value, wanted[name]) for name, value in spent.items() if isinstance(wanted.get(name), int | float)]


def _cards(pairs: Sequence[RewardedPair], documents: Mapping[tuple[int, str], str | None]) -> list[dict[str, Any]]:
    return [
        {
            "shown": shown,
            "document": documents.get((shown.round, shown.pair.document_id)),
        }
        for shown in pairs
    ]


def _shown(text: str, limit: int = TEXT_CHARACTERS) -> str:
    """Untrusted text, its invisible characters as escapes, shortened; the template escapes it after that."""
    plain = visible(text, keep="\n\t")
    return plain if len(plain) <= limit else f"{plain[:limit]}… ({len(plain) - limit:,} more characters)"


@cache
def _template() -> str:
    return files("equal_hf.report").joinpath("page.html").read_text(encoding="utf-8")
