"""What the columns of a run's dataset hold, and what measures of a run mean: for readers of its cards."""

from __future__ import annotations

import re
from collections.abc import Iterable

from equal_hf.utils.markdown import code, table

OF_PAIRS = {
    "prompt": "the question, as the user's message of a chat",
    "completion": "the answer, as the assistant's message",
    "question": "the question as text",
    "answer": "the answer as text",
    "document_id": "the document that the pair was extracted from",
    "document_hash": "SHA-256 of that document's text",
    "cluster": "its cluster, which is an arm of the bandit",
    "round": "the round in which it was drawn, from 0",
    "arm_score": "the score of the cluster when it was drawn",
    "span_start": "first character of the part of the document that was read for the pair",
    "span_end": "character behind that part",
    "method": "how it was extracted: `endpoint`, or the kind of marked text that states it",
    "model": "the model that wrote it; empty where the document states it",
    "model_revision": "revision of that model",
    "prompt_hash": "hash of the extraction prompt",
    "response_key": "key of the reply in the response store of the run",
    "grade": "how well the pair fits the target, from 0 to 3, by the model that wrote it, where it was asked",
    "value": "what selection took the pair to be worth to the target, from 0 to 1",
    r"value_\w+": "the same by one function of several",
    "cost_paid": "money: the share of the pair in what was paid for the replies about its part of the document",
    "reasoning": "what the model thought before its reply",
    "filters_hash": "hash of the quality filters and their settings",
    r"reward_\w+": "a reward of the cluster that was known when the round was extracted",
    "license": "licence of the document, as the corpus states it",
    "source": "source of the document, as the corpus states it",
}
OF_REJECTED = {
    "document_id": "the document",
    "reason": "why the pair was rejected, or the document skipped",
    "question": "the question, where there was one; none of the target's own",
    "answer": "the answer",
    "raw": "the reply, or the part of it that could not be used",
    "license": "licence of the document",
    "source": "source of the document",
    "round": "the round, from 0",
}
OF_DECISIONS = {
    "round": "the round, from 0",
    "arm": "the cluster that was pulled",
    "score": "its score by the bandit",
    "documents": "ids of the documents that were drawn from it",
    "rows": "their places in the stored order of the cluster",
    "expected_value": "the mixed reward that was expected of them",
    "pairs": "pairs that were kept of them",
    "prompt_tokens": "tokens of the prompts, cached ones included",
    "completion_tokens": "tokens of the replies, thoughts included",
    "requests": "requests",
    "cached_tokens": "prompt tokens that the server had cached",
    "reasoning_tokens": "completion tokens that were thoughts",
    r"reward_\w+": "a reward of the cluster for this pull",
    "reward": "their mixture, which the bandit was given",
    "eval_loss": "evaluation loss after the round",
}
TITLES = {
    "default": ("Pairs", OF_PAIRS),
    "rejected": ("Rejected pairs and skipped documents", OF_REJECTED),
    "decisions": ("Decisions: one row a pull", OF_DECISIONS),
}
MEASURES = {
    r"test_loss(_\w+)?": "mean loss a token of the answers in the target's test part; lower is better",
    r"exact_match(_\w+)?": "share of test questions whose answer, generated greedily, is right; its standard error",
    "useful_pairs": "pairs of at least half the value that a pair can have, without near-copies",
    "found_share": "useful pairs found, of all that the budget was expected to find",
    "cost_paid": "money paid, in the currency of the prices",
    r"left_(cost|prompt_tokens|completion_tokens)": "what was left of that limit at the end of the run",
    r"mean_\w+": "mean of that reward over the pulls",
    "steps": "optimizer steps",
    "pool_steps": "steps of the training on all pairs at the end",
}
REASONS = {
    "not_json": "the reply was no JSON",
    "wrong_schema": "the reply was JSON of another form",
    "invalid_pair": "an entry of the reply was no pair",
    "empty_reply": "the reply was empty",
    "truncated": "the reply reached its limit of tokens",
    "thought_only": "the reply was all thoughts",
    "stopped_early": "the reply repeated itself and was ended",
    "no_pairs": "the model found none in the document",
    "refused": "the server refused the document",
    "transport_error": "no reply that could be used, after all attempts",
    "repeated_pair": "the reply had the pair twice",
    "refined_away": "a second request did not keep the pair",
    "judged_low": "a second request graded the pair below the limit",
    "not_judged": "a second request gave no grade",
    "too_many_pairs": "the document states more pairs than are taken of one",
    "empty_question": "no question",
    "no_question": "a question without a letter or digit",
    "empty_answer": "no answer",
    "answer_is_question": "the answer is the question",
    "question_too_long": "longer than the limit",
    "answer_too_long": "longer than the limit",
    "answer_is_exercise": "an exercise as the answer to another",
    "not_a_question": "a number or a statement in the place of a question",
    "answer_in_question": "the question says the answer",
    "not_self_contained": "points to what is not in the pair",
    "asks_about_prompt": "asks about the instructions, not the document",
    "not_grounded": "an answer that shares hardly a word with its document",
    "contaminated": "repeats an item of the target or of a benchmark; its text is withheld",
    "wrong_language": "another language than the document's",
    "duplicate": "kept before",
    "near_duplicate": "almost kept before",
    "number_family": "differs from two others of its document in numbers alone",
}
SHOWN = 30  # columns of the corpus that are named
UNSHOWN = re.compile(r"wall_s|cost_paid/.*")  # of the last start only; told elsewhere


def reason_text(reason: str) -> str:
    """What a reason for a rejection means; empty for one that is not known.

    >>> reason_text("duplicate"), reason_text("doctest_too_long")
    ('kept before', 'a doctest that gives no pair: too long')
    """
    if reason.startswith("doctest_"):
        return f"a doctest that gives no pair: {reason.removeprefix('doctest_').replace('_', ' ')}"
    return REASONS.get(reason, "")


def columns_section(columns: dict[str, list[str]]) -> str:
    """The card's section: a table of the pairs' columns, and folded ones of the others.

    Args:
        columns (`dict[str, list[str]]`): Names by configuration, those that have rows.
    """
    parts = []
    for name, (title, known) in TITLES.items():
        if name not in columns:
            continue
        shown = table(["column", "what it holds"], list(_rows(columns[name], known)))
        if name != "default":
            shown = f"<details>\n<summary>{title} (<code>{name}</code>)</summary>\n\n{shown}\n\n</details>"
        parts.append(shown)
    return "## Columns\n\n" + "\n\n".join(parts) if parts else ""


def _rows(names: Iterable[str], known: dict[str, str]) -> Iterable[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        what = next((text for pattern, text in known.items() if re.fullmatch(pattern, name)), "column of the corpus")
        groups.setdefault(what, []).append(name)
    for what, alike in groups.items():
        more = f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else ""
        yield [", ".join(code(name, 60) for name in alike[:SHOWN]) + more, what]


def measure_rows(names: Iterable[str]) -> list[str]:
    """Explanations of measures, those that need one.

    >>> measure_rows(["documents", "steps"])
    ['`steps`: optimizer steps']
    """
    lines = {}
    for name in names:
        pattern = next((pattern for pattern in MEASURES if re.fullmatch(pattern, name)), None)
        if pattern is not None and pattern not in lines:
            lines[pattern] = f"{code(name)}: {MEASURES[pattern]}"
    return list(lines.values())
