"""Likeness that looks at the length of answers, too: measured, and not the default (see README.md).

To the twelve numbers of a question's form come the logarithm of its answer's length and that length's distance from
the reference's median. Every number is cut to what 98 % of the pairs extracted so far lie within.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from equal_hf.selection.pair_form import FormModel, question_forms
from equal_hf.selection.pair_value import FORMED
from equal_hf.selection.round_values import PairValues
from equal_hf.target import TargetItem, without_annotations
from equal_hf.types import Round

REACH = (0.01, 0.99)  # quantiles of extracted pairs
MAX_CHARACTERS = 4_000


def answer_forms(questions: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """The twelve numbers of each question and the logarithm of its answer's length, shape `(n, 13)`."""
    lengths = np.array([len(answer[:MAX_CHARACTERS]) for answer in answers], dtype=np.float32)
    return np.column_stack([question_forms(questions), np.log1p(lengths)])


class AnswerLengths(PairValues):
    """[`PairValues`] of one target, with the length of answers in its likeness.

    Args:
        items (`Sequence[TargetItem]`): The reference.
        arguments: As for [`PairValues`].
    """

    def __init__(self, items: Sequence[TargetItem], *arguments: Any) -> None:
        super().__init__(*arguments, questions=[[item.question for item in items]])
        answers = [without_annotations(item).answer for item in items]
        self._wanted = answer_forms([item.question for item in items], answers)

    def _keep(self, round: Round, embeddings: np.ndarray, pool_embeddings: np.ndarray | None) -> Any:
        kept = super()._keep(round, embeddings, pool_embeddings)
        pairs = round.pairs
        return replace(kept, forms=answer_forms([pair.question for pair in pairs], [pair.answer for pair in pairs]))

    def _formed(self, kept: Sequence[Any]) -> np.ndarray:
        values = np.concatenate([part.values for part in kept])
        if not len(values):
            return values
        extracted = np.concatenate([part.forms for part in kept])
        low, high = np.quantile(extracted, REACH, axis=0)
        reference, extracted = np.clip(self._wanted, low, high), np.clip(extracted, low, high)
        usual = np.median(reference[:, -1])
        reference, extracted = (np.column_stack([rows, abs(rows[:, -1] - usual)]) for rows in (reference, extracted))
        likeness = FormModel(reference, extracted).likeness(extracted)
        values[:, self.names.index(FORMED), 0] *= 2.0 * likeness
        return values
