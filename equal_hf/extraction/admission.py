"""Which documents may be sent under an allowance, decided so that the allowance is never passed.

A document's *worst case* is the most tokens it can use. Documents are decided in the order they were drawn:

- it **goes** if what is used, plus the worst cases of documents that are still out, plus its own fits the allowance;
- it is **refused** if what is used plus its own worst case does not fit, since use only grows;
- otherwise it **waits** until a document comes back, and is decided again; no later document is decided before it.

As nothing uses more than its worst case, a document goes if and only if the real use of all before it plus its own
worst case fits. So which documents go does not depend on which reply came first.

>>> admission = Admission(Allowance(prompt_tokens=100))
>>> admission.decide(Usage(60)), admission.decide(Usage(60)), admission.decide(Usage(101))
('go', 'wait', 'refused')
>>> admission.settle(Usage(60), Usage(35))
>>> admission.decide(Usage(60))
'go'
"""

from __future__ import annotations

from typing import Literal

from equal_hf.types import Allowance, Usage

Verdict = Literal["go", "wait", "refused"]


class Admission:
    """The books of one allowance: what is used, and what is reserved for documents that are out.

    Args:
        allowance (`Allowance`, *optional*): The limit; `None` lets everything go.
    """

    def __init__(self, allowance: Allowance | None = None) -> None:
        self.allowance = allowance or Allowance()
        self.used = Usage()
        self._reserved = Usage()

    def decide(self, worst: Usage) -> Verdict:
        """Decide the next document in draw order; `"go"` reserves its worst case.

        Args:
            worst (`Usage`): The most it can use.

        Returns:
            `str`: `"go"`, `"wait"` or `"refused"`.
        """
        if self.allowance.holds(self.used + self._reserved + worst):
            self._reserved += worst
            return "go"
        return "wait" if self.allowance.holds(self.used + worst) else "refused"

    def settle(self, worst: Usage, used: Usage) -> None:
        """Book what a document that went really used, and free the rest of its reservation.

        Args:
            worst (`Usage`): What was reserved for it.
            used (`Usage`): What it used.
        """
        self._reserved += Usage(-worst.prompt_tokens, -worst.completion_tokens, -worst.requests)
        self.used += used
