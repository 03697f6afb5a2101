"""Reject questions about the prompt: what a weak model asks that takes its instructions for the document.

>>> filter = PromptEchoFilter("The document is what stands between the two lines. Extract pairs.")
>>> filter.check(QAPair("What stands between the two lines?", "A document.", "d"), Document("d", "2 + 2 is 4."))
'asks_about_prompt'
>>> filter.check(QAPair("What is 2 + 2?", "4", "d"), Document("d", "2 + 2 is 4."))
"""

from __future__ import annotations

from typing import Any

from equal_hf.filters.normalise import words
from equal_hf.types import Document, QAPair

RUN = 5  # words


class PromptEchoFilter:
    """Looks for five words in a row that question and prompt share, and the document does not.

    Args:
        prompt (`str`): What the model was told, without the document. Empty where nothing was asked: then all pass.
    """

    name = "prompt_echo"

    def __init__(self, prompt: str = "") -> None:
        self._prompt = set(_runs(prompt))

    def identity(self) -> dict[str, Any]:
        """Name and version; the prompt is in the extractor's identity."""
        return {"name": self.name, "version": 1, "run": RUN}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`asks_about_prompt`, or None."""
        if not self._prompt:
            return None
        shared = self._prompt.intersection(_runs(pair.question))
        return "asks_about_prompt" if shared and not shared.intersection(_runs(document.text)) else None


def _runs(text: str) -> list[str]:
    tokens = list(words(text))
    return [" ".join(tokens[at : at + RUN]) for at in range(len(tokens) - RUN + 1)]
