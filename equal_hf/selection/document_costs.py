"""What documents cost, in the unit that the budget is in: what their value is weighed against.

>>> from equal_hf.types import Decision, QAPair
>>> costs = DocumentCosts(document=0.0, prompt=1.0, completion=4.0)
>>> pairs = (QAPair("long " * 20, "a", "a", 0), QAPair("q", "a", "b", 0))
>>> round = Round(0, (Decision(0, 1.0, ("a", "b")),), pairs)
>>> costs.of_documents(round, [Usage(prompt_tokens=200, completion_tokens=60)]).round().tolist()
[255.0, 185.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equal_hf.types import QAPair, Rejection, Round, Usage

BUDGETS = ("auto", "documents", "tokens", "money")
# Characters of a reply beside what its pairs hold.
REPLY_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class DocumentCosts:
    """Cost of documents, from what they used.

    Args:
        document (`float`, *optional*, defaults to `1.0`): Of a document, whatever it used.
        prompt (`float`, *optional*, defaults to `0.0`): Of a prompt token.
        completion (`float`, *optional*, defaults to `0.0`): Of a completion token.
    """

    document: float = 1.0
    prompt: float = 0.0
    completion: float = 0.0

    def of_documents(self, round: Round, arm_usage: Sequence[Usage]) -> np.ndarray:
        """Cost of a round's documents in the order they were drawn, shape `(documents,)`.

        What an arm used is known, and shared by its documents: prompt tokens evenly, completion tokens by the
        characters of what the replies held.

        Args:
            round ([`Round`]): The round.
            arm_usage (`Sequence[Usage]`): What each decision's documents used.
        """
        characters: dict[str, int] = {}
        replied: list[QAPair | Rejection] = [*round.pairs, *round.rejected]
        for item in replied:
            held = len(item.question) + len(item.answer) + REPLY_CHARACTERS
            characters[item.document_id] = characters.get(item.document_id, 0) + held
        costs: list[np.ndarray] = [np.zeros(0)]
        for decision, used in zip(round.decisions, arm_usage, strict=True):
            written = np.array([characters.get(i, 0) + REPLY_CHARACTERS for i in decision.documents], dtype=np.float64)
            own = self.prompt * used.prompt_tokens / max(len(written), 1)
            own += self.completion * used.completion_tokens * written / max(written.sum(), 1.0)
            costs.append(self.document + own)
        result = np.concatenate(costs)
        # What cost nothing, such as a replayed document without usage, is weighed as an average one.
        positive = result[result > 0]
        return np.where(result > 0, result, positive.mean() if len(positive) else 1.0)
