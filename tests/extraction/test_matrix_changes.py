"""Servers that change their mind, think without end, tell half of what they count, or answer in ways of their own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from equal_hf.errors import EndpointError
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Allowance, Document
from tests.extraction.endpoints import total
from tests.extraction.test_matrix import DOCUMENTS, PAIRS, booked, connected, form_of
from tests.servers.counting import prompt_tokens
from tests.servers.faults import Fault
from tests.servers.marked import FORBIDDEN, HARD, marked_document, marked_pairs
from tests.servers.providers import PROVIDERS
from tests.servers.providers.rules import Problem
from tests.servers.standin import StandIn


def pairs_of(extractions) -> list[list[tuple[str, str]]]:
    return [[(pair.question, pair.answer) for pair in extraction.pairs] for extraction in extractions]


def refusing(rules, **problems: str):
    """The rules, with parameters refused in these words from now on."""
    more = {name: Problem(400, words, name, "unsupported_parameter") for name, words in problems.items()}
    return replace(rules, refused=rules.refused | more)


@pytest.mark.parametrize(
    "refused",
    [
        {"temperature": "Unsupported parameter: 'temperature' is not supported with this model."},
        {"max_tokens": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."},
        {"seed": "Unrecognized request argument supplied: seed", "temperature": "temperature is deprecated"},
        {"response_format": "This model does not support response_format."},
    ],
    ids=lambda refused: "+".join(refused),
)
def test_what_is_refused_after_the_probe_is_left_out_from_then_on(refused, tmp_path) -> None:
    with StandIn("openai") as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = connected(server, temperature=0.5, store=store)
        endpoint.begin("run")
        endpoint.check()
        sent = len(server.chats)
        server.rules = refusing(server.rules, **refused)
        extractions = endpoint.extract(DOCUMENTS)
        assert pairs_of(extractions) == PAIRS
        assert not set(refused) & set(server.chats[-1].body)
        assert len(server.chats) - sent <= len(DOCUMENTS) * (1 + len(refused)), "none is refused twice for one thing"
        assert booked(endpoint) == server.bill.total.cost
        (told,) = endpoint.describe()["endpoints"]
        gone = set(told["left_out"]) | ({"max_tokens"} if told["limit_field"] != "max_tokens" else set())
        gone |= {"response_format"} if told["schema_form"] is None else set()
        assert gone == set(refused)
        if "response_format" in refused:
            return  # asked without it is another question
        before = len(server.chats)
        again = connected(server, temperature=0.5, store=store)
        assert pairs_of(again.extract(DOCUMENTS)) == PAIRS
        probes = [seen for seen in server.chats[before:] if "hall" in seen.body["messages"][0]["content"]]
        assert not probes, "what is stored serves on"


def test_an_error_about_one_document_changes_nothing_for_others() -> None:
    def filtered(body: dict[str, Any], _: int) -> Fault | None:
        words = "The parameter temperature is fine, but your prompt was flagged by our content_policy: not supported."
        body = (
            json.dumps({"error": {"message": words, "code": "content_policy_violation"}}) if HARD in str(body) else ""
        )
        return Fault(400, body=body) if body else None

    bad = Document("bad", marked_document(1) + HARD)
    with StandIn("openai") as server:
        server.judge = filtered
        endpoint = connected(server)
        extractions = endpoint.extract([bad, *DOCUMENTS])
        assert pairs_of(extractions) == [[], *PAIRS]
        assert extractions[0].dropped == {"refused": 1}
        assert endpoint.describe()["endpoints"][0]["left_out"] == []


@pytest.mark.parametrize(
    "provider",
    ["openai-reasoning", "openai-o-series", "vllm-reasoning", "sglang", "ollama", "groq", "deepseek", "gemini"],
)
def test_a_model_that_thinks_to_the_limit_is_told_of_with_the_remedy(provider: str, caplog) -> None:
    rules = PROVIDERS[provider]
    endless = dict.fromkeys(rules.thinks, 10**6) | {"none": 0, "low": 8}
    with StandIn(replace(rules, thinks=endless)) as server:
        endpoint = connected(server)
        endpoint.check()
        assert "thinks until the limit" in caplog.text
        for remedy in ("reasoning_effort", "enable_thinking", "extractor_max_reasoning_tokens"):
            assert remedy in caplog.text
        assert endpoint.describe()["endpoints"][0]["schema"] != "heeded"
        spent = server.bill.total
        (extraction,) = endpoint.extract(DOCUMENTS[2:3])
        assert extraction.dropped in ({"thought_only": 1}, {"refused": 1}) and not extraction.pairs
        assert extraction.usage.completion_tokens == server.bill.total.completion - spent.completion


def test_a_model_told_to_think_less_does() -> None:
    rules = PROVIDERS["openai-reasoning"]
    endless = dict.fromkeys(rules.thinks, 10**6) | {"low": 8}
    with StandIn(replace(rules, thinks=endless)) as server:
        endpoint = connected(server, body={"reasoning_effort": "low"})
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert all(seen.body["reasoning_effort"] == "low" for seen in server.chats)


def test_tokens_to_think_with_are_beside_those_of_the_answer() -> None:
    rules = PROVIDERS["openai-reasoning"]
    with StandIn(replace(rules, thinks=dict.fromkeys(rules.thinks, 500))) as server:
        assert pairs_of(connected(server, max_new_tokens=120).extract(DOCUMENTS)) != PAIRS
        endpoint = connected(server, max_new_tokens=120, max_reasoning_tokens=500)
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert server.chats[-1].body["max_completion_tokens"] == 620


def test_a_document_that_is_thought_about_without_end_costs_what_it_costs(tmp_path) -> None:
    hard = Document("hard", marked_document(1) + HARD)
    with StandIn("vllm-reasoning") as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = connected(server, store=store)
        endpoint.begin("run")
        endpoint.check()
        first, *others = endpoint.extract([hard, *DOCUMENTS])
        assert pairs_of(others) == PAIRS
        assert not first.pairs and first.finish_reason == "length"
        assert booked(endpoint) == server.bill.total.cost
        sent = len(server.chats)
        assert endpoint.extract([hard, *DOCUMENTS]) == [first, *others] and len(server.chats) == sent


def in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """Mistral's form: what was thought, and the text, as parts of a list."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": message.pop("reasoning") or ""}]}
    return message | {"content": [thought, {"type": "text", "text": message["content"]}]}


def in_tags(before: str, after: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(message: dict[str, Any]) -> dict[str, Any]:
        thought, text = message.pop("reasoning") or "", message["content"]
        # Where a reply is cut short within the thoughts, nothing closes them.
        return message | {"content": f"{before}{thought}{after}{text}" if text else f"{before}{thought}"}

    return change


@pytest.mark.parametrize(
    "form",
    [
        in_parts,
        in_tags("<think>", "</think>"),
        in_tags("", "</think>"),  # the template has opened it
        in_tags("<thinking>\n", "\n</thinking>\n"),
        in_tags("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        in_tags("[THINK]", "[/THINK]"),
        in_tags("◁think▷", "◁/think▷"),
        in_tags("<reasoning>", "</reasoning>"),
        in_tags("<thought>", "</thought>"),
        in_tags("<seed:think>", "</seed:think>"),
    ],
    ids=lambda form: getattr(form, "__name__", ""),
)
def test_thoughts_are_never_taken_for_pairs(form) -> None:
    def change(reply: dict[str, Any]) -> dict[str, Any]:
        choice = reply["choices"][0]
        choice["message"] = form(choice["message"])
        return reply

    with StandIn("groq") as server:
        server.change_reply = change
        assert pairs_of(connected(server).extract(DOCUMENTS)) == PAIRS


@pytest.mark.parametrize("provider", ["openai-reasoning", "azure", "router"])
def test_a_topic_that_is_refused_is_asked_about_once_and_others_go_on(provider: str, tmp_path) -> None:
    forbidden = Document("forbidden", marked_document(1) + FORBIDDEN)
    with StandIn(provider) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = connected(server, store=store)
        endpoint.begin("run")
        endpoint.check()
        extractions = endpoint.extract([forbidden, *DOCUMENTS])
        assert pairs_of(extractions) == [[], *PAIRS]
        asked = sum(FORBIDDEN in str(seen.body) for seen in server.chats)
        assert asked == (2 if provider == "router" else 1), "words of refusal may be a slip; a refusal is none"
        assert booked(endpoint) == server.bill.total.cost


def test_prices_and_context_are_those_that_the_router_lists() -> None:
    with StandIn("router") as server:
        endpoint = connected(server, prices=None)
        endpoint.begin("run")
        endpoint.check()
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        (told,) = endpoint.describe()["endpoints"]
        assert told["max_prompt_tokens"] == 131_072 - 600
        assert told["listed_prices"] == {"prompt": 0.075, "completion": 0.3}
        assert booked(endpoint) == server.bill.total.cost
    with StandIn("openrouter") as server:
        endpoint = connected(server, prices=None)
        endpoint.begin("run")
        endpoint.check()
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert booked(endpoint) == server.bill.total.cost


def test_a_providers_own_cost_goes_before_prices() -> None:
    with StandIn("openrouter") as server:
        endpoint = connected(server, prices=Prices(100.0, 100.0))
        endpoint.begin("run")
        endpoint.check()
        endpoint.extract(DOCUMENTS)
        assert booked(endpoint) == server.bill.total.cost


@pytest.mark.parametrize(("asked", "served"), [("flex", None), ("flex", "default"), ("priority", None)])
def test_a_service_tier_costs_what_it_is_served_at(asked: str, served: str | None) -> None:
    with StandIn("openai-reasoning") as server:
        server.tier = served
        endpoint = connected(server, body={"service_tier": asked})
        endpoint.begin("run")
        endpoint.check()
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        if asked == "priority":
            return  # a price that no setting has
        assert booked(endpoint) == server.bill.total.cost


def test_a_prompt_that_ollama_would_cut_is_split_instead() -> None:
    long = Document("long", marked_document(1, pairs=2, words=6000))
    with StandIn("ollama") as server:
        (extraction,) = connected(server).extract([long])
        assert pairs_of([extraction]) == [marked_pairs(long.text)]
        assert all(len(prompt_tokens(seen.body["messages"])) <= 4096 - 600 for seen in server.chats)


@pytest.mark.parametrize("provider", ["openai-reasoning", "vllm-reasoning", "deepseek"])
def test_a_cap_on_money_holds_by_the_providers_bill(provider: str) -> None:
    documents = [Document(f"d{n}", marked_document(n) + (HARD if n % 3 == 0 else "")) for n in range(30)]
    with StandIn(provider) as server:
        endpoint = connected(server)
        endpoint.begin("run")
        endpoint.check()
        cap = endpoint.prices.cost(total(endpoint.extract(documents[:3]))) * 6
        before = server.bill.total.cost
        extractions = endpoint.extract(documents, Allowance(cost=cap))
        assert server.bill.total.cost - before <= cap
        assert booked(endpoint) == server.bill.total.cost
        assert Counter(one.finish_reason for one in extractions)["budget"] > 0


def test_two_services_of_one_model_are_each_asked_in_their_own_way() -> None:
    name = "gpt-5-mini"
    other = replace(PROVIDERS["vllm"], model=name, reasoning="", pages=PROVIDERS["openai"].pages, key="sk-standin")
    with StandIn("openai-reasoning") as one, StandIn(other) as two:
        endpoint = connected(one)
        endpoint = type(endpoint)(
            [one.url, two.url], api_key=one.rules.key, model=name, prompt=endpoint.prompt, max_new_tokens=600
        )
        documents = [Document(f"d{n}", marked_document(n)) for n in range(40)]
        assert pairs_of(endpoint.extract(documents)) == [marked_pairs(document.text) for document in documents]
        assert len(one.chats) > 3 and len(two.chats) > 3
        assert {form_of(seen.body) for seen in one.chats} == {"json_schema"}


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 600. This model supports at most 512 completion tokens, whereas you provided 600.",
        "max_tokens: 600 > 512, which is the maximum allowed number of output tokens for this model",
        "Range of max_tokens should be [1, 512]",
        "`max_completion_tokens` must be less than or equal to `512`, the maximum value for `max_completion_tokens` "
        "is less than the `context_window` for this model",
        "Unable to submit request because it has a maxOutputTokens value of 600 but the supported range is from 1 to "
        "512. Update the value and try again.",
    ],
)
def test_a_reply_longer_than_the_model_writes_is_a_matter_of_the_setting(words: str, tmp_path) -> None:
    body = json.dumps({"error": {"message": words, "type": "invalid_request_error", "code": None}})
    with StandIn("openai") as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.judge = lambda body_, _: Fault(400, body=body) if body_["max_tokens"] > 512 else None
        with pytest.raises(EndpointError, match=r"no reply of so many tokens. Lower `extractor_max_new_tokens`"):
            connected(server, store=store).extract(DOCUMENTS)
        assert len(server.chats) <= 1 + len(DOCUMENTS)
        assert pairs_of(connected(server, store=store, max_new_tokens=500).extract(DOCUMENTS)) == PAIRS


@pytest.mark.parametrize(
    ("body", "named"),
    [({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"), ({"top_q": 1}, "top_q")],
)
def test_a_field_of_the_users_own_that_is_refused_is_named_at_once(body: dict[str, Any], named: str) -> None:
    with StandIn("openai") as server:
        with pytest.raises(EndpointError, match=f"refuses `{named}` of `extractor_body`.*Correct it there"):
            connected(server, body=body).check()
        assert len(server.chats) == 1


def test_a_schema_refused_by_its_place_in_the_body_is_not_asked_for_again() -> None:
    where = ["body", "response_format", "json_schema", "strict"]
    error = [{"type": "extra_forbidden", "loc": where, "msg": "Extra inputs are not permitted", "input": True}]
    with StandIn("openai") as server:
        server.judge = lambda body, _: (
            Fault(422, body=json.dumps({"detail": error})) if "response_format" in body else None
        )
        endpoint = connected(server)
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert endpoint.describe()["endpoints"][0]["schema"] == "refused"
        assert len(server.chats) == 4 + len(DOCUMENTS), "each form of it once, then JSON mode, then without"


def test_an_error_of_the_provider_behind_a_router_is_no_reply() -> None:
    upstream = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "Groq"}}
    choice = {"index": 0, "finish_reason": "error", "error": upstream, "message": {"role": "assistant", "content": ""}}
    with StandIn("openrouter") as server:
        endpoint = connected(server)
        endpoint.begin("run")
        endpoint.check()
        server.faults = [Fault(200, body=json.dumps({"id": "gen-1", "choices": [choice]}))] * 3
        extractions = endpoint.extract(DOCUMENTS)
        assert pairs_of(extractions) == PAIRS and total(extractions).requests == len(DOCUMENTS)
        assert booked(endpoint) == server.bill.total.cost


def test_a_reply_that_a_parser_took_for_thoughts_is_read_if_it_is_nothing_else() -> None:
    def moved(reply: dict[str, Any]) -> dict[str, Any]:
        message = reply["choices"][0]["message"]
        return reply | {
            "choices": [
                reply["choices"][0]
                | {
                    "message": message
                    | {"content": None, "reasoning": (message["reasoning"] or "") + (message["content"] or "")}
                }
            ]
        }

    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    with StandIn("vllm-reasoning") as server:
        server.change_reply = moved
        endpoint = connected(server, body=quiet)
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert endpoint.describe()["endpoints"][0]["schema"] == "heeded"
        assert not any(map(any, pairs_of(connected(server).extract(DOCUMENTS)))), "drafts are no pairs"


@pytest.mark.parametrize("word", ["max_tokens", "MAX_TOKENS", "length"])
def test_a_reply_cut_short_is_so_in_any_word(word: str) -> None:
    def renamed(reply: dict[str, Any]) -> dict[str, Any]:
        choice = reply["choices"][0]
        return reply | {
            "choices": [choice | {"finish_reason": word if choice["finish_reason"] == "length" else "stop"}]
        }

    with StandIn("openai") as server:
        server.change_reply = renamed
        (extraction,) = connected(server, max_new_tokens=60).extract(DOCUMENTS[2:3])
        assert (extraction.finish_reason, len(extraction.pairs)) == ("length", 1)


def test_an_account_that_runs_dry_ends_with_one_line_and_keeps_what_came(tmp_path) -> None:
    quota = {"message": "You exceeded your current quota, please check your plan and billing details."}
    body = json.dumps({"error": quota | {"type": "insufficient_quota", "param": None, "code": "insufficient_quota"}})
    with StandIn("openai") as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = connected(server, store=store, concurrency=2)
        endpoint.begin("run")
        endpoint.check()
        server.judge = lambda _, count: Fault(429, body=body) if count > 4 else None
        with pytest.raises(EndpointError, match="no money or quota left") as caught:
            endpoint.extract(DOCUMENTS)
        assert "\n" not in str(caught.value) and len(server.chats) < 9
        assert booked(endpoint) == server.bill.total.cost
        server.judge = None
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert booked(endpoint) == server.bill.total.cost


@pytest.mark.parametrize(
    "fault",
    [
        Fault(498, body='{"error": {"message": "Flex tier capacity exceeded", "code": "capacity_exceeded"}}'),
        Fault(429, body='{"error": {"message": "Resource unavailable", "code": "resource_unavailable"}}'),
        Fault(
            429, {"retry-after": "0.05"}, '{"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}'
        ),
        Fault(409, body='{"error": {"message": "Conflict"}}'),
        Fault(425),
        *(Fault(status) for status in (500, 503, *range(520, 524), *range(525, 530))),
    ],
    ids=lambda fault: str(fault.status),
)
def test_what_passes_is_waited_for_and_paid_once(fault: Fault) -> None:
    with StandIn("groq") as server:
        endpoint = connected(server, body={"service_tier": "flex"})
        endpoint.begin("run")
        endpoint.check()
        server.faults = [fault] * 3
        assert pairs_of(endpoint.extract(DOCUMENTS)) == PAIRS
        assert booked(endpoint) == server.bill.total.cost
