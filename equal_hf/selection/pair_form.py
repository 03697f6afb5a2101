"""What the form of a question says: whether it looks like the target's items, whatever it is about.

Nearness of embeddings tells what a question is about. That a target asks for word problems of forty words with numbers
in them, and not for "Simplify x² - 4" or for who was president, shows in a few counts of characters. A logistic
regression tells the reference from the pairs extracted so far by these counts; its probability is how much a pair's
form is that of the target. Both sides weigh the same, so 0.5 says nothing.

>>> items = ["Tom has 3 apples and buys 4 more. How many has he?", "A pen costs $2. How much do 5 pens cost?"] * 5
>>> others = ["Simplify x^2", "Who wrote Emma?", "Factor 4y", "What is a noun?"] * 5
>>> model = FormModel(question_forms(items), question_forms(others))
>>> told = model.likeness(question_forms(["Ann had 9 pears and ate 2. How many are left?", "Factor 9y"]))
>>> bool(told[0] > 0.5 > told[1])
True
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

FORM_NUMBERS = 12
STRENGTH = 10.0  # of the ridge on weights, in rows of 1 standard deviation
MAX_ROWS = 2_000  # extracted pairs that are compared with
STEPS = 10
_SENTENCE = re.compile(r"[.?!]\s")


def question_forms(questions: Sequence[str]) -> np.ndarray:
    """Twelve numbers of each question: words, characters, digits, sentences, and shares of kinds of characters.

    Args:
        questions (`Sequence[str]`): The questions.

    Returns:
        `np.ndarray` of shape `(n, 12)`, float32.
    """
    rows = [_form(question) for question in questions]
    return np.array(rows, dtype=np.float32).reshape(len(rows), FORM_NUMBERS)


def _form(question: str) -> list[float]:
    question = question[:4_000]
    words, size = question.split(), max(len(question), 1)
    digits = sum(character.isdigit() for character in question)
    marks = sum(not character.isalnum() and not character.isspace() for character in question)
    return [
        np.log1p(len(words)),
        np.log1p(len(question)),
        np.log1p(digits),
        np.log1p(len(_SENTENCE.findall(question))),
        digits / size,
        sum(character.isalpha() for character in question) / size,
        sum(character.isupper() for character in question) / size,
        marks / size,
        question.count("\n") / size,
        sum(map(len, words)) / max(len(words), 1),
        float("?" in question),
        float("$" in question),
    ]


class FormModel:
    """Ridge logistic regression that tells the reference from extracted pairs, by Newton's method.

    Args:
        reference (`np.ndarray` of shape `(m, 12)`): Forms of the reference questions.
        extracted (`np.ndarray` of shape `(n, 12)`): Forms of pairs; of more than 2,000 an even sample is used.
    """

    def __init__(self, reference: np.ndarray, extracted: np.ndarray) -> None:
        step = -(-len(extracted) // MAX_ROWS)
        rows = np.concatenate([reference, extracted[:: max(step, 1)]]).astype(np.float64)
        self._mean, self._scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        x = np.column_stack([(rows - self._mean) / self._scale, np.ones(len(rows))])
        y = np.arange(len(rows)) < len(reference)
        # Either side weighs as much as the other, and both together as many rows as there are.
        weight = len(rows) / 2 / np.where(y, max(y.sum(), 1), max((~y).sum(), 1))
        strength = np.append(np.full(x.shape[1] - 1, STRENGTH), 1e-6)
        self._weights = np.zeros(x.shape[1])
        for _ in range(STEPS):
            p = _sigmoid(x @ self._weights)
            gradient = x.T @ (weight * (p - y)) + strength * self._weights
            curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(strength)
            self._weights = self._weights - np.linalg.solve(curvature, gradient)

    def likeness(self, forms: np.ndarray) -> np.ndarray:
        """How much forms of shape `(n, 12)` are the target's: probabilities of shape `(n,)`."""
        return _sigmoid((forms - self._mean) / self._scale @ self._weights[:-1] + self._weights[-1])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))
