"""Files of one JSON object a line: requests on their way out, cut where a provider's limits are, and answers back in.

>>> [[line for line in part] for part in parts([b"aaa", b"bb", b"cc"], len, max_requests=2, max_bytes=6)]
[[b'aaa', b'bb'], [b'cc']]
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

# No answer of a model is as long: what is, is no line of ours.
_MAX_LINE_BYTES = 64_000_000


def line(value: Any) -> bytes:
    """A value as one line.

    >>> line({"text": "a\\u2028b"})
    b'{"text":"a\\\\u2028b"}\\n'
    """
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def parts(items: Iterable[T], size: Callable[[T], int], max_requests: int, max_bytes: int) -> Iterator[list[T]]:
    """Items in order, as few lists as the limits allow; one that is too large by itself is a list of its own.

    Args:
        items (`Iterable`): The items.
        size (`Callable`): Bytes of one.
        max_requests (`int`): Items of a list at most.
        max_bytes (`int`): Bytes of a list at most.
    """
    part: list[T] = []
    filled = 0
    for item in items:
        if part and (len(part) >= max_requests or filled + size(item) > max_bytes):
            yield part
            part, filled = [], 0
        part.append(item)
        filled += size(item)
    if part:
        yield part


async def objects(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The objects of a file that comes in pieces; lines that are none are left out.

    Args:
        chunks (`AsyncIterator[bytes]`): The pieces, cut anywhere.
    """
    rest = b""
    async for chunk in chunks:
        # Not by `splitlines`, which cuts at more than ends of lines.
        *lines, rest = (rest + chunk).split(b"\n")
        for one in lines:
            if (value := _read(one)) is not None:
                yield value
        if len(rest) > _MAX_LINE_BYTES:
            rest = b""
    if (value := _read(rest)) is not None:
        yield value


def _read(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
