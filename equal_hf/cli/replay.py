"""`equal-hf replay RUN`: what another policy would have selected, without a single call."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import ConfigError
from equal_hf.selection.rewards import current_reward_name

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.selection.selector import Selector

SHOWN_MISSING = 5


def add_parser(subparsers: Any) -> None:
    """Add `replay` to the commands."""
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.config import DOCUMENT_ORDERS, DRAWS, CollectorConfig, current_document_order
    from equal_hf.selection.config import BANDITS, REWARDS
    from equal_hf.selection.document_costs import BUDGETS
    from equal_hf.selection.neighbours import NEIGHBOURS
    from equal_hf.selection.pair_value import PAIR_VALUES

    parser = subparsers.add_parser(
        "replay",
        help="show what another policy would have selected, without a call",
        description="Select again from the records of a run, under another policy, without a single call. What is not "
        "given stays as the run had it. A document that no record holds is counted as missing: it would need a call.",
        epilog="example: equal-hf replay runs/mistral_math --bandit thompson --reward_funcs value",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--also", type=Path, nargs="+", default=[], metavar="RUN", help="further runs on the corpus")
    parser.add_argument("--corpus", type=Path, help="folder of the clustered corpus, where it is not in the run's own")
    kinds: dict[str, dict[str, Any]] = {
        "bandit": {"choices": BANDITS},
        "alpha": {"type": float},
        "prior_weight": {"type": float},
        "neighbour_radius": {"type": float},
        "neighbours": {"choices": NEIGHBOURS},
        "bandit_discount": {"type": float},
        "reward_funcs": {"nargs": "+", "type": current_reward_name, "choices": REWARDS, "metavar": "REWARD"},
        "reward_weights": {"nargs": "+", "type": float, "metavar": "WEIGHT"},
        "pair_values": {"nargs": "+", "choices": [*PAIR_VALUES], "metavar": "VALUE"},
        "pair_value_weights": {"nargs": "+", "type": float, "metavar": "WEIGHT"},
        "target_weights": {"nargs": "+", "type": float, "metavar": "WEIGHT"},
        "price_per_million_prompt_tokens": {"type": float, "metavar": "PRICE"},
        "price_per_million_completion_tokens": {"type": float, "metavar": "PRICE"},
        "draw_by": {"choices": DRAWS},
        "explore": {"type": float},
        "budget_in": {"choices": BUDGETS},
        "document_order": {"type": current_document_order, "choices": DOCUMENT_ORDERS},
    }
    helps = {one.name: one.metadata["help"] for kind in (RunArguments, CollectorConfig) for one in fields(kind)}
    for name, kind in kinds.items():
        parser.add_argument(f"--{name}", help=helps[name], **kind)
    parser.add_argument("--rounds", type=int, help="maximum number of rounds; as many as the run has if unset")
    parser.add_argument("--json", action="store_true", help="print JSON, with every draw and score")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Replay and print one line a round, or JSON.

    Raises:
        [`ConfigError`]: If the run does not say what corpus and target it had, or the corpus is another one.
        [`RecordError`]: If the folder holds no run, or damaged records.
    """
    from equal_hf.collection.replay_records import recorded_documents, replay, rows_by_round
    from equal_hf.records.changes import value_at
    from equal_hf.records.run_file import RunFile
    from equal_hf.records.run_folder import RoundRecords

    records = [RoundRecords(folder) for folder in (args.run, *args.also)]
    run_json = RunFile(args.run).read()
    fingerprint = run_json["fingerprint"]
    for other in records[1:]:
        if RunFile(other.run_dir).read()["fingerprint"]["corpus"] != fingerprint["corpus"]:
            raise ConfigError(f"{other.run_dir} ran on another corpus than {args.run}: leave it out of `--also`")
    recorded = recorded_documents(records)
    rounds, changes = args.rounds or len(records[0].indices()), run_json.get("changes", [])
    played = list(
        replay(
            _selector(args, run_json),
            recorded,
            rounds=rounds,
            arms_per_round=fingerprint["arms_per_round"],
            documents_per_arm=fingerprint["documents_per_arm"],
            seed=fingerprint["seed"],
            max_documents=[
                value_at("max_documents", fingerprint["max_documents"], changes, index) for index in range(rounds)
            ],
            feedback_lag=fingerprint["feedback_lag"],
            extracted=rows_by_round(records[0]),
        )
    )
    print(json.dumps(_as_json(played)) if args.json else "\n".join(_as_lines(played)))
    return 0


def _arguments(args: argparse.Namespace, settings: dict[str, Any]) -> RunArguments:
    """The recipe's arguments as the run had them, but for those that are given."""
    from equal_hf.cli.arguments import RunArguments

    known = {field.name for field in fields(RunArguments)}
    if not {"corpus", "target"} <= set(settings):
        raise ConfigError(f"{args.run}/run.json does not say what `corpus` and `target` were: only recipe runs do")
    changed = {name: value for name, value in vars(args).items() if name in known and value is not None}
    return RunArguments(
        **{name: value for name, value in settings.items() if name in known} | changed | {"corpus": settings["corpus"]}
    )


def _corpus(args: argparse.Namespace, run: RunArguments, fingerprint: dict[str, Any]) -> ClusteredCorpus:
    """The corpus that the run drew from."""
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.corpus.run_corpus import open_corpus

    corpus = (
        ClusteredCorpus.load(args.corpus)
        if args.corpus
        else open_corpus(run, str(args.run), fingerprint["seed"], build=False)
    )
    if corpus.fingerprint != fingerprint["corpus"]:
        raise ConfigError(f"{corpus.source} is not the corpus that {args.run} ran on: name that one with `--corpus`")
    return corpus


def _selector(args: argparse.Namespace, run_json: dict[str, Any]) -> Selector:
    """The run's selection, but for what is given."""
    from equal_hf.collection.config import check_explore, current_document_order
    from equal_hf.collection.fingerprint import EARLIER_DRAWING, EARLIER_PAIR_VALUES
    from equal_hf.collection.spending import document_costs
    from equal_hf.records.changes import limits_at_start
    from equal_hf.selection.pair_value import weighted_pair_values
    from equal_hf.selection.selector import Selector
    from equal_hf.target.load import load_targets
    from equal_hf.target.shares import target_shares

    settings, fingerprint = run_json["config"], run_json["fingerprint"]
    run = _arguments(args, settings)
    corpus = _corpus(args, run, fingerprint)
    targets = load_targets(run, fingerprint["seed"])
    embedder = corpus.open_embedder()
    pair_values = fingerprint.get("pair_values", EARLIER_PAIR_VALUES)
    if args.pair_values:
        pair_values = weighted_pair_values(args.pair_values, None)
    drawing: dict[str, Any] = {"explore": 0.0} | EARLIER_DRAWING
    drawing |= {name: fingerprint[name] for name in drawing if name in fingerprint}
    drawing |= {name: value for name in drawing if (value := getattr(args, name)) is not None}
    check_explore(drawing["explore"])
    weights = args.reward_weights or (None if args.reward_funcs else settings.get("reward_weights"))
    return Selector(
        run.make_bandit(),
        run.make_rewards(run.prices),
        corpus.profiles,
        {name: embedder.encode([item.text() for item in target.reference]) for name, target in targets.items()},
        corpus.embeddings,
        weights=weights,
        target_weights=target_shares(targets, args.target_weights or fingerprint["target_weights"]),
        order=args.document_order or current_document_order(fingerprint["document_order"]),
        documents_per_arm=fingerprint["documents_per_arm"],
        discount=fingerprint["discount"],
        pair_values=list(pair_values),
        pair_value_weights=args.pair_value_weights or list(pair_values.values()),
        questions={name: [item.question for item in target.reference] for name, target in targets.items()},
        costs=document_costs(drawing["budget_in"], limits_at_start(run_json), run.prices),
        draw_by=drawing["draw_by"],
        explore=drawing["explore"],
        terms=corpus.terms if corpus.has_terms else None,
        sample_terms=corpus.profiles.sample_terms,
    )


def _as_json(played: list[Any]) -> dict[str, Any]:
    return {
        "exact_rounds": _exact(played),
        "rounds": [
            {
                "index": step.round.index,
                "decisions": [
                    {"arm": d.arm, "score": d.score, "rows": list(d.rows), "expected_value": d.expected_value}
                    for d in step.round.decisions
                ],
                "documents": step.round.documents,
                "pairs": len(step.round.pairs),
                "rewards": dict(step.round.rewards),
                "mixed": step.mixed,
                "missing": [list(key) for key in step.missing],
            }
            for step in played
        ],
    }


def _as_lines(played: list[Any]) -> list[str]:
    lines = [f"{'round':>5} {'arms':>5} {'documents':>10} {'missing':>8} {'pairs':>6}"]
    for step in played:
        round = step.round
        lines.append(
            f"{round.index:>5} {len(round.decisions):>5} {round.documents:>10} {len(step.missing):>8} "
            f"{len(round.pairs):>6}"
        )
    missing = [key for step in played for key in step.missing]
    exact = _exact(played)
    lines.append(
        f"exact: the first {exact} of {len(played)} rounds, whose documents are all on record"
        if exact
        else "not exact: round 0 would already draw documents that are not on record"
    )
    if missing:
        shown = ", ".join(f"cluster {arm} row {row}" for arm, row in missing[:SHOWN_MISSING])
        more = f" and {len(missing) - SHOWN_MISSING:,} more" if len(missing) > SHOWN_MISSING else ""
        lines.append(f"would need new calls: {len(missing):,} documents ({shown}{more})")
    return lines


def _exact(played: list[Any]) -> int:
    return next((index for index, step in enumerate(played) if step.missing), len(played))
