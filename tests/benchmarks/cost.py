"""What one workload costs at list price, at the flex tier, in a batch, with a cached prefix, and where replies that
repeat themselves are ended; from the ledger, beside what the provider's stand-in charges.

    python -m tests.benchmarks.cost --documents 40

Every way to ask sends the same documents to a server of its own. `short` is the default prompt, whose instructions are
shorter than what a provider caches from (1,024 tokens here); `examples` shows so many target items in it that they are
not; `padded` has filler there instead; both at a cached price of a quarter and of a tenth of the prompt's. Where
replies are ended, the server is one of one's own (as vLLM) that writes 30 tokens a second and repeats its last pair up
to the limit; it charges what it wrote before its client had gone.

Promises: ledger and bill differ by no token and no billionth, but for what a server wrote of an ended reply before it
knew, at most a token each; the same pairs come of every way; flex and batch cost half; with a cached prefix a prompt
costs less for each token; ended replies cost less and lose no pair.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from equal_hf.extraction.budget import NANO, Prices
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.prompts.template import DEFAULT_PROMPT, PromptTemplate
from equal_hf.extraction.responses.ledger_lines import add_up
from equal_hf.extraction.responses.store_stats import ledger_lines
from equal_hf.types import Document, Usage
from tests.benchmarks.report import conclude, progress
from tests.servers.batches import BatchStandIn
from tests.servers.bill import Line
from tests.servers.marked import marked_document, tokens_of
from tests.servers.providers import PROVIDERS
from tests.servers.providers.rules import Rules
from tests.servers.standin import StandIn
from tests.servers.streaming import Reply, StreamingServer

QUARTER = replace(PROVIDERS["openai"], tiers=("auto", "default", "flex", "priority"))
TENTH = replace(QUARTER, rates=replace(QUARTER.rates, cached=QUARTER.rates.prompt / 10))
MAX_NEW_TOKENS = 512
# Items of a target task, as a prompt shows them.
EXAMPLES = tuple(
    (
        f"A hall is {n} metres long and {n + 3} metres wide, and a tin of paint covers 12 square metres of its floor. "
        "How many tins have to be bought, if nothing is left over from before and only whole tins are sold?",
        f"The floor has {n} * {n + 3} = {n * (n + 3)} square metres. {n * (n + 3)} / 12 = {n * (n + 3) / 12:.2f}, and "
        f"only whole tins are sold, so {-(-n * (n + 3) // 12)} tins have to be bought.",
    )
    for n in range(5, 15)
)
FILLER = "Take your time, and keep to all of the rules above. " * 75
PADDED = DEFAULT_PROMPT.replace("Reply with one JSON", FILLER + "\n\nReply with one JSON", 1)


def workload(documents: int) -> list[Document]:
    """Texts of some 700 tokens, each with three pairs."""
    return [Document(f"d{n}", marked_document(n, pairs=3, words=600)) for n in range(documents)]


def prices_of(rules: Rules) -> Prices:
    """What a user would set for this provider."""
    return Prices(rules.rates.prompt, rules.rates.completion, rules.rates.cached)


def spend(
    server: Any, documents: Sequence[Document], path: Path, prompt: PromptTemplate, charged: Any, **settings: Any
) -> dict[str, Any]:
    """Extract, and put the ledger beside the bill.

    Args:
        server: The stand-in.
        documents (`Sequence[Document]`): The workload.
        path (`Path`): Where the store goes.
        prompt ([`PromptTemplate`]): The prompt.
        charged (`Callable`): Gives what the stand-in charged, as a [`Line`].
        **settings: Of the extractor.
    """
    with closing(
        EndpointExtractor(server.url, prompt=prompt, store=path, max_new_tokens=MAX_NEW_TOKENS, **settings)
    ) as endpoint:
        extractions = endpoint.extract(documents)
        prices = endpoint.prices
    (line,) = add_up(ledger_lines(path))
    used, bill = line.usage, charged()
    tokens = (used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.reasoning_tokens)
    booked = Line(used.requests, *tokens, line.cost)
    pairs = sorted((pair.question, pair.answer) for extraction in extractions for pair in extraction.pairs)
    return {
        "money": line.cost / NANO,
        "billed": bill.cost / NANO,
        "difference": max(abs(a - b) for a, b in zip(astuple(booked), astuple(bill), strict=True)),
        "pairs": len(pairs),
        "pairs_digest": hash(tuple(pairs)),
        "prompt_tokens": used.prompt_tokens,
        "cached_tokens": used.cached_tokens,
        "completion_tokens": used.completion_tokens,
        "prompt_money": prices.cost(replace(used, completion_tokens=0)) / NANO,
        "money_of_pairs": sum(pair.cost or 0.0 for extraction in extractions for pair in extraction.pairs),
    }


def hosted(
    name: str, documents: Sequence[Document], prompt: PromptTemplate, rules: Rules = QUARTER, **settings: Any
) -> dict[str, Any]:
    """Ask a provider, one by one or in a batch."""
    settings |= {"api_key": rules.key, "model": rules.model, "prices": prices_of(rules)}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with BatchStandIn(rules, place / "state") if settings.get("batch") else StandIn(rules) as server:
            path = place / "responses.sqlite"
            result = spend(server, documents, path, prompt, lambda: server.bill.total, **settings)
    progress(f"{name}: {result['money']:.6f} for {result['pairs']} pairs, {result['cached_tokens']} tokens cached")
    return result


def repeating() -> list[str]:
    """A reply of three pairs, the last of them again and again up to the limit, token by token."""
    pairs = [{"question": f"How many lamps light hall {n}?", "answer": f"{84 + n} lamps."} for n in range(3)]
    text = '{"pairs": [' + ", ".join(json.dumps(pair) for pair in [*pairs, *[pairs[-1]] * 40])
    pieces, start = [], 0
    for token in tokens_of(text)[:MAX_NEW_TOKENS]:
        end = text.index(token, start) + len(token)
        pieces.append(text[start:end])  # with the blanks before it
        start = end
    return pieces


def ended_early(documents: Sequence[Document]) -> dict[str, Any]:
    """Ask a server of one's own whose replies repeat themselves."""
    pieces, prices = repeating(), prices_of(QUARTER)

    def line(prompt: int, completion: int) -> Line:
        return Line(1, prompt, 0, completion, 0, prices.cost(Usage(prompt, completion, 1)))

    with (
        tempfile.TemporaryDirectory() as folder,
        StreamingServer([Reply(pieces, finish_reason="length")], pause_s=1 / 30) as server,
    ):

        def charged() -> Line:
            first = [line(9, 5) for body in server.bodies if not body.get("stream")]
            return sum([*first, *(line(100, count) for count in server.sent)], Line())

        path = Path(folder) / "responses.sqlite"
        result = spend(server, documents, path, PromptTemplate(), charged, stream="true", prices=prices)
        whole = sum([*[line(100, len(pieces))] * len(documents), line(9, 5)], Line()).cost / NANO
    progress(f"early stop: {result['money']:.6f} for {result['pairs']} pairs, {whole:.6f} if no reply were ended")
    return result | {"money_if_none_were_ended": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=40)
    options = parser.parse_args()
    documents = workload(options.documents)
    prompts = {
        "short": PromptTemplate(),
        "examples": PromptTemplate(examples=EXAMPLES),
        "padded": PromptTemplate(PADDED),
    }
    one_batch = {"batch": True, "batch_poll_s": 0.1}
    ways = {
        "list": hosted("list price", documents, prompts["short"]),
        "flex": hosted("flex", documents, prompts["short"], service_tier="flex"),
        "batch": hosted("batch", documents, prompts["short"], **one_batch),
        "examples": hosted("examples, cached", documents, prompts["examples"]),
        "examples_batch": hosted("examples, cached, batch", documents, prompts["examples"], **one_batch),
        "padded": hosted("padded, cached", documents, prompts["padded"]),
        "examples_tenth": hosted("examples, cached at a tenth", documents, prompts["examples"], TENTH),
        "padded_tenth": hosted("padded, cached at a tenth", documents, prompts["padded"], TENTH),
    }
    stopped = ended_early(documents)
    unread = NANO * abs(stopped["money"] - stopped["billed"])
    full = ways["list"]["money"]
    shares = {name: round(way["money"] / full, 4) for name, way in ways.items()}
    by_the_token = {name: way["prompt_money"] / way["prompt_tokens"] for name, way in ways.items()}
    told = {name: {key: way[key] for key in way if key != "pairs_digest"} for name, way in ways.items()}
    fixed = {name: len(tokens_of(prompt.messages("")[0]["content"])) for name, prompt in prompts.items()}
    conclude(
        {
            "documents": len(documents),
            "share_of_list_price": shares,
            "fixed_tokens": fixed,
            **told,
            "early_stop": {key: stopped[key] for key in stopped if key != "pairs_digest"},
        },
        {
            "ledger_is_the_bill": not any(way["difference"] for way in ways.values()),
            "ended_replies_differ_by_a_token_each": unread <= len(documents) * QUARTER.rates.completion * 1000,
            "same_pairs": len({way["pairs_digest"] for way in ways.values()}) == 1 and ways["list"]["pairs"] > 0,
            "half_price": all(abs(shares[name] - 0.5) < 0.01 for name in ("flex", "batch")),
            "cached_prefix_is_cheaper_by_the_token": by_the_token["examples"] < by_the_token["list"],
            "ended_replies_cost_less": stopped["money"] < 0.6 * stopped["money_if_none_were_ended"],
            "ended_replies_lose_no_pair": stopped["pairs"] == 3 * len(documents),
        },
    )


if __name__ == "__main__":
    main()
