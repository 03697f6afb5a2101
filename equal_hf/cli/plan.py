"""`equal-hf plan CONFIG`: calls, tokens, money and time of a run, before anything is spent."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.estimate import CONCURRENCY_IF_UNKNOWN, Extracted, Load, Plan, estimate, mean_request_s
from equal_hf.errors import ConfigError, CorpusError
from equal_hf.types import Allowance, Document, Extraction, Usage
from equal_hf.utils.logging import messages_shown
from equal_hf.utils.printable import escape, only_results_on_stdout

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.extraction.survey import Survey

_LOOKED_AT = 10_000  # stored attempts whose times are looked at, the last ones


def add_parser(subparsers: Any) -> None:
    """Add `plan` to the commands."""
    parser = subparsers.add_parser(
        "plan",
        help="estimate calls, tokens, money and time of a run, before anything is spent",
        description="Estimate calls, tokens, money and time of a run from a sample of its documents. The endpoint is "
        "asked what it serves and to count tokens, and to generate only where `--timed` says so. Any key of the YAML "
        "can be given as a flag.",
        epilog="example: equal-hf plan recipes/mistral_math.yaml --max_cost 20 --price_per_million_prompt_tokens 0.2",
    )
    parser.add_argument("config", help="the recipe's YAML")
    parser.add_argument("--sample", type=int, default=200, help="number of documents to look at (default: 200)")
    parser.add_argument(
        "--timed",
        type=int,
        default=0,
        metavar="N",
        help="extract so many of them now, to know how long that takes and how long replies are (default: 0); what "
        "they cost is paid once, since their replies are in the response store",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Print the estimate.

    Raises:
        [`ConfigError`]: If the configuration is wrong.
        [`CorpusError`]: If the corpus cannot be read.
    """
    if args.sample < 1:
        raise ConfigError(f"`--sample` is {args.sample}: set it to 1 or more")
    if args.timed < 0:
        raise ConfigError(f"`--timed` is {args.timed}: set it to 0 or more")
    with only_results_on_stdout(), messages_shown():
        plan, assumptions, embedding = _plan(args)
    if args.json:
        told = {"embedding_s": embedding[0], "embedding": embedding[1], "assumptions": assumptions}
        print(json.dumps(asdict(plan) | told, indent=2))
    else:
        for line in render(plan, assumptions, embedding[1]):
            print(line)
    return 0


def _plan(args: argparse.Namespace) -> tuple[Plan, list[str], tuple[float | None, str]]:
    from equal_hf.cli.parse_config import parse_run
    from equal_hf.corpus.sample_texts import sample_texts
    from equal_hf.extraction.budget import nano
    from equal_hf.extraction.survey import survey

    run, how, _ = parse_run(args.config, args.settings)
    if run.extractor != "endpoint":
        raise ConfigError(f"`extractor` is {run.extractor!r}, which calls no endpoint: there is nothing to plan")
    texts, size = sample_texts(run, args.sample, how.seed)
    measured = survey(texts, run.endpoint, _prompt(run, how.seed))
    extracted, yields = _extract(run, how, texts, measured, args.timed) if args.timed else (None, [])
    documents_a_round = how.arms_per_round * how.documents_per_arm
    load, known = _load(run, str(how.output_dir), measured, documents_a_round, extracted)
    drawn = how.planned_rounds * documents_a_round
    ends = {"num_rounds": drawn, "max_documents": how.max_documents, "the corpus": size}
    ends_by, documents = min(((name, n) for name, n in ends.items() if n is not None), key=lambda end: end[1])
    allowance = Allowance(
        how.max_prompt_tokens, how.max_completion_tokens, None if how.max_cost is None else nano(how.max_cost)
    )
    plan = estimate(measured.documents, documents, allowance, load, ends_by)
    assumptions = [*_basis(measured, len(texts), size), *plan.assumptions, *known]
    if run.control:
        assumptions.append(f"the {run.control} control is not counted: at most as much again")
    assumptions += [*yields, useful_pairs(Path(str(how.output_dir)))]
    return plan, assumptions, _embedding(run, str(how.output_dir), texts, size, how.seed)


def _embedding(
    run: RunArguments, output_dir: str, texts: list[str], size: int | None, seed: int
) -> tuple[float | None, str]:
    """How long embedding takes, in seconds and in words; `None` where it cannot be timed here."""
    from equal_hf.corpus.indexing.embedding_time import embedding_time

    mixed = random.Random(seed).sample(texts, len(texts))
    try:
        return embedding_time(run, output_dir, mixed, size)
    except (ConfigError, CorpusError) as error:
        return None, f"embedding could not be timed: {error}"


def useful_pairs(run_dir: Path) -> str:
    """What can be said of useful pairs: before the first call nothing, later what the run last forecast."""
    from equal_hf.records.run_folder import RoundRecords

    records = RoundRecords(run_dir)
    last = [records.reward_record(index) or {} for index in records.indices()[-1:]]
    known = last[0].get("forecast") if last else None
    if known is None:
        return (
            "how many pairs will be useful cannot be said before documents are extracted: the run says it from its "
            "fourth round on"
        )
    rest = known["ahead"][-1]
    return (
        f"the run in {run_dir} has {known['useful']:,} useful pairs; of the budget it had left after its last round, "
        f"{known['left']:,.10g} {known['unit'].replace('_', ' ')}, it expected {rest['low']:,.0f} to "
        f"{rest['high']:,.0f} more"
    )


def render(plan: Plan, assumptions: list[str], embedding: str = "") -> Iterator[str]:
    """The lines that are shown."""
    minutes = plan.seconds / 60
    time = f"{minutes / 60:,.1f} h" if minutes >= 120 else f"{minutes:,.1f} min"
    yield f"documents          {plan.documents:>14,}   (ended by {plan.ends_by})"
    yield f"calls              {plan.calls:>14,}"
    yield f"prompt tokens      {plan.prompt_tokens:>14,}"
    yield f"completion tokens  {plan.completion_tokens:>14,}"
    yield f"cost               {plan.cost:>14,.2f}"
    yield f"time in extraction {time:>14}"
    if embedding:
        yield escape(embedding)
    yield "assumed:"
    for assumption in assumptions:
        yield f"- {escape(assumption)}"


def _basis(measured: Survey, sampled: int, size: int | None) -> Iterator[str]:
    of = f" of {size:,}" if size is not None else ""
    yield f"the {sampled:,} documents looked at{of} are like the ones that will be drawn"
    tokens = [one.prompt_tokens for one in measured.documents]
    longest, whole = max(tokens), sum(tokens)
    if longest > whole / 10 and len(tokens) > 10:
        yield (
            f"the longest of them takes {longest:,} prompt tokens, {longest / whole:.0%} of what all take together: "
            "split it or take it out of the corpus if it is not worth that"
        )
    if measured.server is None:
        yield f"the endpoint could not be asked ({measured.problem}): 4 bytes of text are a token"
    elif not measured.counted:
        yield f"the endpoint ({measured.server.dialect}) counts no tokens: 4 bytes of text are a token"
    else:
        yield f"the endpoint ({measured.server.dialect}, {measured.server.model}) counted the tokens"


def _extract(
    run: RunArguments, how: CollectorConfig, texts: list[str], measured: Survey, count: int
) -> tuple[Extracted | None, list[str]]:
    """Extract some documents, whose replies the store then holds; what they took, or `None` where nothing came, and
    what became of it."""
    from equal_hf.cli.factories import make_extractor
    from equal_hf.target.load import load_targets

    places = random.Random(how.seed).sample(range(len(texts)), min(count, len(texts)))
    one_by_one: dict[str, Any] = {"extractor_batch_min_requests": len(places) + 1}  # nobody waits a day for a plan
    run = replace(run, **one_by_one)
    extractor: Any = make_extractor(run, str(how.output_dir), load_targets(run, how.seed), how.seed)
    try:
        extractor.begin("plan")
        documents = [Document(f"plan-{place}", texts[place]) for place in places]
        # The first alone: what a provider caches of its prompt is found by all others then, as by most of a run.
        extractions = [*extractor.extract(documents[:1]), *extractor.extract(documents[1:])]
    finally:
        extractor.close()
    done = [(place, one) for place, one in zip(places, extractions, strict=True) if one.finish_reason != "error"]
    if not done:
        return None, []
    used = sum((one.usage for _, one in done), Usage())
    told = _kept(how, documents, [one for _, one in done], extractor.prompt.source)
    return Extracted([measured.documents[place] for place, _ in done], used), [told]


def _kept(how: CollectorConfig, documents: list[Document], extractions: list[Extraction], prompt: str) -> str:
    """How many pairs of the documents the filters keep, and what share of the tokens they are."""
    from equal_hf.filters.base import apply_filters
    from equal_hf.filters.build import build_filters
    from equal_hf.records.kept_tokens import kept_tokens

    by_id = {document.id: document for document in documents}
    pairs = [pair for one in extractions for pair in one.pairs]
    kept, rejected = apply_filters(pairs, by_id, build_filters(how, (), prompt))
    rejected += [item for one in extractions for item in one.rejected]
    used = sum((one.usage for one in extractions), Usage())
    drawn = [[one.document_id] for one in extractions]
    share = kept_tokens(kept, rejected, drawn, [one.usage for one in extractions]).completion_tokens
    return (
        f"of {len(pairs):,} pairs of the documents extracted the filters keep {len(kept):,}, which are "
        f"{share / max(used.completion_tokens, 1):.0%} of the completion tokens paid for"
    )


def _prompt(run: RunArguments, seed: int) -> Any:
    from equal_hf.cli.factories import make_prompt
    from equal_hf.target.load import load_targets

    shows_items = run.extractor_examples or run.extractor_grade
    return make_prompt(run, load_targets(run, seed) if shows_items else None, seed)


def _load(
    run: RunArguments, output_dir: str, measured: Survey, a_round: int, extracted: Extracted | None
) -> tuple[Load, list[str]]:
    reply_tokens = request_s = None
    endpoint, store = run.endpoint, run.store_path(output_dir)
    endpoints = max(1, len(endpoint.url or []))
    model = measured.server.model if measured.server else endpoint.model
    known = []
    at_most = endpoint.concurrency
    if measured.server is not None and measured.server.max_concurrent:
        at_most = min(at_most, measured.server.max_concurrent)
    elif endpoint.concurrency > CONCURRENCY_IF_UNKNOWN:
        at_most = CONCURRENCY_IF_UNKNOWN
    if model and store.is_file():
        reply_tokens, spans, count = _experience(store, model, batch=endpoint.batch)
        request_s = mean_request_s(spans, len(spans) if endpoint.batch else at_most * endpoints)
        if count:
            known.append(f"{count:,} replies of {model} are in {store}")
    prices = run.prices.or_listed([measured.server.listed_prices if measured.server else None])
    if prices != run.prices:
        known.append(f"the endpoint lists its prices: {prices.prompt:g} and {prices.completion:g} a million tokens")
    if prices.free:
        known.append("no price is set (`price_per_million_prompt_tokens`, `price_per_million_completion_tokens`)")
    load = Load(
        prices,
        endpoint,
        reply_tokens,
        request_s,
        min(at_most * endpoints, a_round),
        run.extractor_grade,
        a_round,
        extracted,
    )
    return load, known


def _experience(store: Path, model: str, *, batch: bool) -> tuple[float | None, list[tuple[float, float]], int]:
    """Mean tokens of the model's stored replies, when the last of them were booked and stored (of those that came in
    batches, or of the others), and how many replies."""
    from equal_hf.extraction.responses.maintenance import connect

    with connect(store) as connection:
        tokens, count = connection.execute(
            "SELECT avg(completion_tokens), count(*) FROM responses WHERE model = ? AND finish_reason <> 'refused'",
            (model,),
        ).fetchone()
        spans = connection.execute(
            "SELECT sent_unix_s, created_unix_s FROM attempts JOIN responses USING (key) "
            "WHERE state = 'answered' AND responses.model = ? AND created_unix_s >= sent_unix_s "
            "AND (tier = 'batch') = ? ORDER BY sent_unix_s DESC LIMIT ?",
            (model, batch, _LOOKED_AT),
        ).fetchall()
    return tokens, spans, count
