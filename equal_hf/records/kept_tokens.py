"""How much of what was paid for became pairs: the tokens of replies that lie in kept pairs.

Replies are not in the records, so the completion tokens of a pull are shared out by characters: those of its kept
pairs, of its rejected ones, and of whole replies that were rejected. Thoughts, the form of the reply and what was cut
off belong to the pairs of their reply.

>>> pairs = [QAPair("What is 2 + 2?", "It is 4.", "a")]
>>> rejected = [Rejection("a", "duplicate", "What is 2 + 3?", "It is 5."), Rejection("b", "not_json", raw="I cannot.")]
>>> kept_tokens(pairs, rejected, [["a"], ["b"]], [Usage(100, 60), Usage(80, 10)])
Usage(prompt_tokens=100, completion_tokens=30, requests=0, cached_tokens=0, reasoning_tokens=0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from equal_hf.types import QAPair, Rejection, Usage


def kept_tokens(
    pairs: Sequence[QAPair],
    rejected: Sequence[Rejection],
    documents: Sequence[Sequence[str]],
    usages: Sequence[Usage],
) -> Usage:
    """Completion tokens that lie in kept pairs, and prompt tokens of documents that gave some.

    Args:
        pairs (`Sequence[QAPair]`): Kept pairs of a round.
        rejected (`Sequence[Rejection]`): Its rejections.
        documents (`Sequence[Sequence[str]]`): Ids of the documents of each pull.
        usages (`Sequence[Usage]`): What each pull used.
    """
    kept: Counter[str] = Counter()
    for pair in pairs:
        kept[pair.document_id] += len(pair.question) + len(pair.answer)
    written = kept.copy()
    whole: Counter[str] = Counter()
    for item in rejected:
        if item.question:
            written[item.document_id] += len(item.question) + len(item.answer)
        else:
            whole[item.document_id] += len(item.raw)
    for document, characters in whole.items():
        written[document] = max(written[document], characters)  # a whole reply holds the pairs that were read off it
    prompt = completion = 0.0
    for drawn, usage in zip(documents, usages, strict=True):
        mine, all_of_it = (sum(counts[document] for document in drawn) for counts in (kept, written))
        completion += usage.completion_tokens * mine / max(all_of_it, 1)
        prompt += usage.prompt_tokens * sum(document in kept for document in drawn) / max(len(drawn), 1)
    return Usage(round(prompt), round(completion))
