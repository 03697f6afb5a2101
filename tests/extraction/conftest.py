"""Servers for the extraction tests, one of each kind a session, and documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from equal_hf.types import Document
from tests.servers import spawn


@pytest.fixture(scope="session")
def tgi() -> Iterator[str]:
    """URL of a TGI façade with room for 2,048 tokens."""
    with spawn("tests.servers.tgi", "--max-input-tokens", "1792", "--max-total-tokens", "2048") as url:
        yield url


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """URL of a bare llama.cpp server."""
    with spawn("tests.servers.llama", "--slot-tokens", "2048") as url:
        yield url


@pytest.fixture
def documents() -> list[Document]:
    """Twelve short documents."""
    return [
        Document(
            f"d{number}", f"Anna buys {number} bags of 12 apples. Altogether she has {12 * number} apples.", number
        )
        for number in range(12)
    ]
