"""Exact match as it is measured: the same replies one by one, in batches, on two ranks and after a kill."""

import json
import re

import pytest
import torch
from transformers import AutoTokenizer

from equal_hf.training.exact_match.forms import STOP, prompts
from equal_hf.training.exact_match.generation import batches_of, generate
from equal_hf.training.exact_match.measure import standard_error
from tests.processes import run, start
from tests.training.exact_match_ranks import BATCH_TOKENS, NEW_TOKENS, lively_model
from tests.world import make_target


@pytest.fixture(scope="module")
def tokenizer(world):
    return AutoTokenizer.from_pretrained(world / "model")


@pytest.fixture(scope="module")
def model(world):
    return lively_model(world)


def ids_of(form, tokenizer):
    target = make_target()
    return prompts(form, tokenizer, target.test, target.reference[:2])


def greedy(model, ids, new_tokens, ends):
    """One prompt at a time, without a cache, a mask or padding: the token of the highest logit, until an end."""
    made = []
    while len(made) < new_tokens and not (made and made[-1] in ends):
        with torch.inference_mode():
            made.append(int(model(torch.tensor([ids + made])).logits[0, -1].argmax()))
    return made


@pytest.mark.parametrize("form", ["chat", "few_shot"])
def test_replies_are_those_of_one_prompt_at_a_time(model, tokenizer, form):
    ids = ids_of(form, tokenizer)
    assert len({len(prompt) for prompt in ids}) > 1, "so there is padding"
    batched = generate(model, tokenizer, ids, new_tokens=NEW_TOKENS, stop=STOP[form])
    assert len({reply.text for reply in batched}) > 10 and len({reply.tokens for reply in batched}) > 1
    ends = {tokenizer.eos_token_id}
    for prompt, reply in zip(ids, batched, strict=True):
        made = greedy(model, prompt, NEW_TOKENS, ends)
        text = tokenizer.decode(made, skip_special_tokens=True)
        for stop in STOP[form]:
            text = text.partition(stop)[0]
        assert reply.text == text
        if not STOP[form]:
            assert (reply.tokens, reply.ended) == (len(made), made[-1] in ends)


def test_settings_of_a_model_do_not_change_greedy_replies_nor_leave_its_cache_off(model, tokenizer):
    ids = ids_of("chat", tokenizer)[:3]
    plain = generate(model, tokenizer, ids, new_tokens=8)
    config = model.generation_config
    kept = (config.do_sample, config.temperature, config.repetition_penalty)
    seen = []
    hook = model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    try:
        config.do_sample, config.temperature, config.repetition_penalty = True, 2.0, 9.0
        model.config.use_cache = False
        assert generate(model, tokenizer, ids, new_tokens=8) == plain
    finally:
        hook.remove()
        config.do_sample, config.temperature, config.repetition_penalty = kept
        model.config.use_cache = True
    assert seen[-1]["input_ids"].shape[1] == 1, "one token a step, what came before is in the cache"


def test_a_reply_ends_where_a_text_ends_it(model, tokenizer):
    ids = ids_of("chat", tokenizer)[:4]
    whole = generate(model, tokenizer, ids, new_tokens=16)
    stop = re.search("[A-Za-z]{3}", whole[0].text)[0]
    ended = generate(model, tokenizer, ids, new_tokens=16, stop=[stop])
    assert ended[0].text == whole[0].text.partition(stop)[0] and ended[0].ended and ended[0].tokens < 16
    assert [reply.text for reply in ended] == [reply.text.partition(stop)[0] for reply in whole]


def test_batches_hold_like_lengths_and_so_many_tokens():
    lengths = [10, 90, 12, 80, 11, 300]
    batches = batches_of(lengths, new_tokens=20, batch_tokens=240)
    assert batches == [[5], [1, 3], [2, 4, 0]]
    assert sorted(place for batch in batches for place in batch) == list(range(6))
    assert batches_of([], 1, 1) == []


def rows_of(folder):
    return [json.loads(line) for line in (folder / "trained-target.jsonl").read_text().splitlines()]


def on(world, folder, *flags, ranks=1):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    arguments = ["-m", "tests.training.exact_match_ranks", "--world", str(world), "--folder", str(folder), *flags]
    return [*launcher, *arguments]


@pytest.fixture(scope="module")
def on_one(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    run(on(world, folder), folder / "log")
    return folder


def test_two_ranks_share_the_work_and_find_the_same(world, model, tokenizer, on_one, tmp_path):
    run(on(world, tmp_path, ranks=2), tmp_path / "log")
    assert rows_of(tmp_path) == rows_of(on_one), "item by item"
    one, two, other = (
        (f / n).read_text() for f, n in ((on_one, "rank-0"), (tmp_path, "rank-0"), (tmp_path, "rank-1"))
    )
    found, batches = one.rsplit(" [", 1)
    assert two.startswith(found) and other.startswith(found), "every rank knows what came of it"
    count = len(batches.split(","))
    assert count > 2
    assert [len(text.rsplit(" [", 1)[1].split(",")) for text in (two, other)] == [(count + 1) // 2, count // 2]
    ids = ids_of("chat", tokenizer)
    alone = [
        tokenizer.decode(greedy(model, p, NEW_TOKENS, {tokenizer.eos_token_id}), skip_special_tokens=True) for p in ids
    ]
    assert [row["reply"] for row in rows_of(on_one)] == alone


def test_replies_results_and_the_standard_error_are_kept(on_one):
    rows = rows_of(on_one)
    target = make_target()
    assert [(row["question"], row["wanted"]) for row in rows] == [(item.question, item.final) for item in target.test]
    assert {"reply", "found", "right", "tokens", "ended"} <= rows[0].keys()
    measures = json.loads((on_one / "trained-target.json").read_text())["measures"]
    share = sum(row["right"] for row in rows) / len(rows)
    assert measures == {"exact_match": share, "exact_match_stderr": standard_error(share, len(rows))}


def test_one_that_was_killed_goes_on_and_one_that_is_done_does_nothing(world, tokenizer, on_one, tmp_path):
    killed = start(on(world, tmp_path, "--die-after", "2"), tmp_path / "log")
    assert killed.wait(120) == 9 and not (tmp_path / "trained-target.jsonl").exists()
    partial = tmp_path / "trained-target.partial.jsonl"
    with partial.open("a") as file:
        file.write('{"item": 1, "text": "cut sho')  # in the middle of a line
    run(on(world, tmp_path, ranks=2), tmp_path / "log")
    assert rows_of(tmp_path) == rows_of(on_one) and not partial.exists()
    batches = batches_of([len(prompt) for prompt in ids_of("chat", tokenizer)], NEW_TOKENS, BATCH_TOKENS)
    made = [json.loads("[" + (tmp_path / f"rank-{rank}").read_text().rsplit(" [", 1)[1]) for rank in (0, 1)]
    assert len(made[0]) + len(made[1]) == len(batches) - 2
    run(on(world, tmp_path, "--die-after", "0"), tmp_path / "log")  # which would die if it generated anything
    # Another question is another measurement.
    dead = start(on(world, tmp_path, "--die-after", "0", "--form", "few_shot"), tmp_path / "log")
    assert dead.wait(120) == 9
