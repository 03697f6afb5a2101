"""What an extractor is: documents in, question-answer pairs out.

[`ExplicitExtractor`] reads pairs that documents state themselves; [`EndpointExtractor`] asks a model. Anything else
with these two methods is an extractor too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from equal_hf.types import Allowance, Document, Extraction, QAPair

if TYPE_CHECKING:
    from equal_hf.extraction.budget import Prices
    from equal_hf.extraction.responses.ledger import Paid
    from equal_hf.extraction.responses.ledger_lines import LedgerLine


class Extractor(Protocol):
    """What the collector needs of an extractor."""

    def identity(self) -> dict[str, Any]:
        """Everything that decides which pairs a document gives, as JSON; a run is resumed under the same one only."""

    def extract(self, documents: Sequence[Document], allowance: Allowance | None = None) -> list[Extraction]:
        """Extract the pairs of documents.

        Args:
            documents (`Sequence[Document]`): In draw order.
            allowance ([`Allowance`], *optional*): What may still be used. A document goes if what is used, the worst
                case of those before it and its own fit; else it waits until those have settled and is then decided, so
                that the outcome does not hang on which response came first.

        Returns:
            `list[Extraction]`: One a document, in order; with `finish_reason="budget"` where it did not fit.
        """


@runtime_checkable
class PaidExtractor(Extractor, Protocol):
    """An extractor that costs money, and keeps a ledger of it."""

    @property
    def prices(self) -> Prices:
        """What tokens cost; an endpoint may tell it only when it is contacted."""

    def begin(self, run: str) -> None:
        """Book what is paid from here on to this run."""

    def paid(self) -> Paid:
        """What the run paid so far."""

    def ledger(self) -> list[LedgerLine]:
        """The same by endpoint, day, model and service tier."""

    def raw_reply(self, pair: QAPair) -> str:
        """The reply text that a pair was read from."""

    def describe(self) -> dict[str, Any]:
        """What was found out about the endpoints, as JSON, for the run's record: no secret."""
