"""Short hashes of content: the same in every process and on every machine.

>>> text_hash("What is 2 + 2?"), digest("What is 2 + 2?", 4).hex()
('38d46ad3618826cf', '9032b776')
>>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
True
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def text_hash(text: str, digits: int = 16) -> str:
    """First hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def fingerprint(value: Any, digits: int = 32) -> str:
    """As [`text_hash`], of anything that JSON can hold; the order of keys does not matter."""
    return text_hash(json.dumps(value, sort_keys=True), digits)


def digest(text: str, size: int = 16) -> bytes:
    """BLAKE2b of a text, `size` bytes: for sets and tables of many."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
