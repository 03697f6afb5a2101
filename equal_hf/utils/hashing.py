"""Short hashes of content: the same in every process and on every machine.

>>> content_hash("What is 2 + 2?"), digest("What is 2 + 2?", 4).hex()
('38d46ad3618826cf', '9032b776')
>>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
True
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def content_hash(content: str | bytes, digits: int = 16) -> str:
    """First hexadecimal digits of the SHA-256 of a text or bytes."""
    return hashlib.sha256(_bytes(content)).hexdigest()[:digits]


def fingerprint(value: Any, digits: int = 32) -> str:
    """As [`content_hash`], of anything that JSON can hold; the order of keys does not matter."""
    return content_hash(json.dumps(value, sort_keys=True), digits)


def digest(content: str | bytes, size: int = 16) -> bytes:
    """BLAKE2b of a text or bytes, `size` bytes: for sets and tables of many."""
    return hashlib.blake2b(_bytes(content), digest_size=size).digest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
