"""What every pair has to pass, whoever extracted it: lengths, decontamination, duplicates.

>>> from equal_hf.types import QAPair
>>> pairs = [QAPair("What is 2 + 2?", "4", document_id="a"), QAPair("What is 2+2?", "4", document_id="b")]
>>> kept, rejected = filter_pairs(pairs, deduplicator=Deduplicator())
>>> [pair.document_id for pair in kept], [(item.document_id, item.reason) for item in rejected]
(['a'], [('b', 'duplicate')])
"""

from __future__ import annotations

from collections.abc import Iterable

from equal_hf.extraction.decontamination import Decontaminator
from equal_hf.extraction.duplicates import Deduplicator
from equal_hf.extraction.normalise import normalise
from equal_hf.types import QAPair, Rejection

__all__ = ["Decontaminator", "Deduplicator", "filter_pairs", "normalise"]


def filter_pairs(
    pairs: Iterable[QAPair],
    *,
    deduplicator: Deduplicator | None = None,
    decontaminator: Decontaminator | None = None,
    max_question_characters: int = 4000,
    max_answer_characters: int = 8000,
) -> tuple[list[QAPair], list[Rejection]]:
    """Split pairs into those to keep and those turned down, each under the first reason that applies.

    The reasons are, in this order, `"empty_question"`, `"empty_answer"`, `"question_too_long"`, `"answer_too_long"`,
    `"contaminated"` and `"duplicate"`. Only kept pairs enter the deduplicator, so one that is seeded with the kept
    pairs of earlier rounds decides the same after a resume.

    Args:
        pairs (`Iterable[QAPair]`): The pairs, in the order in which the first of several duplicates is kept.
        deduplicator (`Deduplicator`, *optional*): Pairs seen so far; the kept ones are added to it.
        decontaminator (`Decontaminator`, *optional*): The protected texts.
        max_question_characters (`int`, *optional*, defaults to `4000`): Longest question kept.
        max_answer_characters (`int`, *optional*, defaults to `8000`): Longest answer kept.

    Returns:
        `tuple[list[QAPair], list[Rejection]]`: Kept pairs and rejections, both in the order given.
    """
    kept: list[QAPair] = []
    rejected: list[Rejection] = []
    for pair in pairs:
        if not pair.question.strip():
            reason = "empty_question"
        elif not pair.answer.strip():
            reason = "empty_answer"
        elif len(pair.question) > max_question_characters:
            reason = "question_too_long"
        elif len(pair.answer) > max_answer_characters:
            reason = "answer_too_long"
        elif decontaminator is not None and decontaminator.contaminated(pair):
            reason = "contaminated"
        elif deduplicator is not None and not deduplicator.add(pair):
            reason = "duplicate"
        else:
            kept.append(pair)
            continue
        rejected.append(Rejection(pair.document_id, reason, pair.question, pair.answer))
    return kept, rejected
