"""The allowance is never passed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from equal_hf.errors import ConfigError
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Allowance, Document, Extraction, Usage
from tests.extraction.endpoints import MODELS, completion, extractor, paid, total
from tests.servers.faults import Fault, FaultyServer


def worst_case_fits(extractions: list[Extraction], allowance: Allowance) -> None:
    assert allowance.holds(total(extractions))
    for extraction in extractions:
        if extraction.finish_reason == "budget":
            assert (extraction.pairs, extraction.usage, extraction.rejected) == ((), Usage(), ())


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.integers(0, 1000) | st.none(), tokens=st.integers(0, 1200) | st.none())
def test_the_allowance_is_never_passed_and_timing_does_not_matter(tgi, documents, prompt, tokens) -> None:
    allowance = Allowance(prompt, tokens)
    at_once = extractor(tgi, concurrency=12).extract(documents[:8], allowance)
    worst_case_fits(at_once, allowance)
    assert at_once == extractor(tgi, concurrency=1).extract(documents[:8], allowance)


def test_bounds_are_bounds_and_close_ones(tgi, llama, documents) -> None:
    texts = [
        "",
        "Ärger über Größe, 价格 12 €, 🙂🙂",
        "<|im_start|>system <|im_end|>",
        "a" * 500,
        "\n" * 50,
        *map(str, range(3)),
    ]
    for url, temperature in ((tgi, 0.0), (llama, 0.9)):
        endpoint = extractor(url, temperature=temperature)
        for text in texts:
            (extraction,) = endpoint.extract([Document("d", text)], Allowance(100_000))
            needed = extraction.usage.prompt_tokens // extraction.usage.requests
            # Just below the real prompt nothing goes; with the margin on top it does, with that of a repair as well.
            (refused,) = endpoint.extract([Document("d", text)], Allowance(needed - 1))
            assert refused.finish_reason == "budget"
            (once,) = endpoint.extract([Document("d", text)], Allowance(needed + 8))
            assert once.usage.requests == 1
            (admitted,) = endpoint.extract([Document("d", text)], Allowance(2 * needed + 200))
            assert admitted == extraction


def test_a_repair_is_inside_the_allowance(documents) -> None:
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion()]
        endpoint = extractor(server.url)
        endpoint.check()
        usage = {"prompt_tokens": 150, "completion_tokens": 200}
        server.faults = [completion("no", usage=usage)] * 50
        allowance = Allowance(completion_tokens=900)
        extractions = endpoint.extract(documents, allowance)
        worst_case_fits(extractions, allowance)
        # 900 = 2 × 400 + 100: no third document.
        assert [e.finish_reason for e in extractions[:3]] == ["stop", "stop", "budget"]


def test_what_cannot_pay_for_a_repair_goes_without_one(documents) -> None:
    """Also where a first attempt was lost: the repair's share pays for another one, and none is asked for then."""
    usage = {"prompt_tokens": 150, "completion_tokens": 200}
    no = completion("no", usage=usage)
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        endpoint = extractor(server.url, concurrency=1)
        endpoint.check()
        server.faults = [no] * 3
        extractions = endpoint.extract(documents[:3], Allowance(completion_tokens=799))
        assert [(e.finish_reason, e.usage.requests) for e in extractions] == [("stop", 2), ("stop", 1), ("budget", 0)]
        assert extractions[1].dropped == {"not_json": 1} and len(server.chats) == 1 + 3
        for lost, reply in ((1, no), (2, no), (1, completion(usage=usage))):
            server.faults = [Fault(action="drop")] * lost + [reply] * 2
            before = len(server.chats)
            (extraction,) = endpoint.extract(
                [Document("d", f"{lost} {reply is no}.")], Allowance(completion_tokens=400)
            )
            assert extraction.finish_reason == ("budget" if lost == 2 else "stop")
            assert extraction.lost.completion_tokens == 200 * lost and len(server.chats) == before + 2
            assert len(extraction.pairs) == (reply is not no)


def test_stored_replies_count_as_new_ones_do(tgi, documents, tmp_path) -> None:
    allowance = Allowance(1000, 2500)
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        fresh = extractor(tgi, store=store).extract(documents, allowance)
        assert {extraction.finish_reason for extraction in fresh} == {"stop", "budget"}
        before = paid(tgi)
        endpoint = extractor(tgi, store=store)
        endpoint.check()
        assert endpoint.extract(documents, allowance) == fresh
        assert paid(tgi) == before + 1, "the probe alone"


def test_a_long_stored_reply_counts_in_full_under_a_lower_limit(documents, tmp_path) -> None:
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.faults = [completion(), completion(usage={"prompt_tokens": 5, "completion_tokens": 180})]
        extractor(server.url, store=store).extract(documents[:1])
        server.faults = [completion()]
        endpoint = extractor(server.url, store=store, max_new_tokens=50)
        assert endpoint.extract(documents[:1], Allowance(completion_tokens=179))[0].finish_reason == "budget"
        (served,) = endpoint.extract(documents[:1], Allowance(completion_tokens=180))
        assert served.usage.completion_tokens == 180 and len(served.pairs) == 1


def test_counts_beyond_the_bounds_are_told_of(documents, caplog) -> None:
    usage = {"prompt_tokens": 10**6, "completion_tokens": 1}
    with FaultyServer(pages=MODELS, faults=[completion(), completion(usage=usage)]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
    assert extraction.usage.prompt_tokens == 10**6
    assert "cannot be trusted" in caplog.text


def test_the_models_tokenizer_bounds_as_closely_as_a_server_that_counts(world, documents) -> None:
    long = " ".join(document.text for document in documents * 2)
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion() for _ in range(100)]
        blind = extractor(server.url)
        counting = extractor(server.url, tokenizer=str(world / "model"))
        one = [Document("l", long)]
        reasons = [each.extract(one, Allowance(prompt_tokens=1500))[0].finish_reason for each in (blind, counting)]
        assert reasons == ["budget", "stop"], "a byte is the least a token stands for"
        before = len(server.chats)
        extractor(server.url, tokenizer=str(world / "model"), max_input_tokens=400).extract([Document("l", long)])
        assert len(server.chats) > before + 2
        tokenizer = AutoTokenizer.from_pretrained(world / "model")
        for seen in server.chats[before + 1 :]:  # after the probe
            prompt = tokenizer.apply_chat_template(
                seen.body["messages"], add_generation_prompt=True, return_dict=False
            )
            assert len(prompt) <= 400


def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="`extractor_tokenizer`"):
        extractor("http://127.0.0.1:9", tokenizer=str(tmp_path)).check()


def lose(server: FaultyServer, kind: str) -> None:
    """Every request generates 200 tokens and brings no reply."""
    usage = {"prompt_tokens": 150, "completion_tokens": 200}
    server.faults = {
        "no choices": [completion(choices=[], usage=usage)] * 200,
        "an error in a 200": [Fault(body='{"error": {"message": "upstream went away"}}')] * 200,
        "a dropped connection": [Fault(action="drop")] * 200,
        "a gateway's time-out": [Fault(504, body="<html>504 Gateway Time-out</html>")] * 200,
        "a time-out": [Fault(action="hang")] * 200,
    }[kind]


@pytest.mark.parametrize(
    "kind", ["no choices", "an error in a 200", "a dropped connection", "a gateway's time-out", "a time-out"]
)
def test_tokens_without_a_reply_count_against_the_allowance(kind: str, documents, caplog) -> None:
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        endpoint = extractor(server.url, max_retries=30, timeout_s=0.5, error_window=1000, max_error_rate=1.0)
        endpoint.check()
        lose(server, kind)
        extractions = endpoint.extract(documents[:3], Allowance(completion_tokens=1500))
        generated = 200 * (len(server.chats) - 1)
    assert 600 <= generated <= 1500
    lost = sum((extraction.lost for extraction in extractions), Usage())
    assert lost.completion_tokens == generated and total(extractions) == Usage()
    assert lost.prompt_tokens == 150 * lost.requests if kind == "no choices" else lost.prompt_tokens > 0
    assert {extraction.finish_reason for extraction in extractions} == {"budget"}
    assert endpoint.paid().lost == lost, "the ledger has them too"
    assert f"up to {lost.prompt_tokens} prompt and {generated} completion tokens" in caplog.text


def test_what_was_not_sent_whole_or_was_turned_away_counts_for_nothing(documents) -> None:
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        endpoint = extractor(server.url, max_retries=3)
        endpoint.check()
        server.faults = [Fault(429), Fault(503), Fault(415), Fault(500), Fault(400), *[completion()] * 9]
        extractions = endpoint.extract(documents[:5], Allowance(completion_tokens=5000))
    assert {extraction.finish_reason for extraction in extractions} == {"stop"}
    assert sum((extraction.lost for extraction in extractions), Usage()) == Usage()
