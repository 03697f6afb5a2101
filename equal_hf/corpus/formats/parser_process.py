"""Parse files of other people apart from this process, which no file can take down, hang or fill.

Parsing is slow, so several processes do it, and give the results in the order of what was asked.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from equal_hf.corpus.formats.html_page import NotReadable
from equal_hf.utils.worker_process import end_worker, start_worker

Asked = TypeVar("Asked")
Given = TypeVar("Given")

_DOCUMENTS = 500  # after which a process gives way to a new one, for parsers keep some memory of each


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """What a document may take.

    Args:
        seconds (`float`, *optional*, defaults to 120): Of computing.
        memory (`int`, *optional*, defaults to 2 GB): In bytes.
        processes (`int`, *optional*, defaults to 1): That parse at the same time.
    """

    seconds: float = 120.0
    memory: int = 2_000_000_000
    processes: int = 1


def parse(kind: str, source: str | bytes, limits: ParserLimits, charset: str | None = None) -> dict[str, Any]:
    """The text and facts of a document.

    Args:
        kind (`str`): `"html"` or `"pdf"`.
        source (`str` or `bytes`): The path of a PDF file, or the content of a document.
        limits ([`ParserLimits`]): What it may take.
        charset (`str`, *optional*): Encoding of a page, where a server told it.

    Returns:
        `dict[str, Any]`: As `page_document` and `pdf_document`.

    Raises:
        NotReadable: It is damaged, takes more than the limits, or makes its parser crash.
    """
    request: dict[str, Any] = {"format": kind, "charset": charset, "seconds": limits.seconds, "memory": limits.memory}
    content = source if isinstance(source, bytes) else None
    request |= {"path": source} if content is None else {"bytes": len(content)}
    worker = _borrow()
    fresh = not worker.documents
    answer = worker.ask(request, content)
    if not fresh and _may_be_of_earlier_documents(answer):
        worker.end()
        worker = _Worker()
        answer = worker.ask(request, content)
    _give_back(worker)
    if "problem" in answer:
        raise NotReadable(answer["problem"])
    if "out_of_memory" in answer:
        raise NotReadable(f"it takes more than {limits.memory / 1e9:g} GB of memory to read (`max_parse_bytes`)")
    if "status" in answer:
        if answer["status"] == -signal.SIGPROF:
            raise NotReadable(f"it takes more than {limits.seconds:g} s to read (`parse_timeout_s`)")
        raise NotReadable(f"its parser crashed ({_cause(answer['status'])})")
    return answer


def in_order(
    function: Callable[[Asked], Given], items: Iterable[Asked], processes: int
) -> Generator[Given, None, None]:
    """What a function gives for each item, in their order; several are under way, in threads.

    >>> list(in_order(str, range(3), 2))
    ['0', '1', '2']
    """
    if processes <= 1:
        yield from map(function, items)
        return
    pending: deque[Future[Given]] = deque()
    threads = ThreadPoolExecutor(processes, "parse")
    try:
        for item in items:
            pending.append(threads.submit(function, item))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(wait=not pending, cancel_futures=True)
        if pending:  # nobody waits for what is under way
            end_parsers()


def end_parsers() -> None:
    """End the processes; later documents start new ones."""
    with _lock:
        ended = list(_alive)
    for worker in ended:
        worker.end()


class _Worker:
    """A process that parses.

    Attributes:
        documents (`int`): That it was given.
    """

    def __init__(self) -> None:
        self._process = start_worker("equal_hf.corpus.formats.parser_worker")
        self.documents = 0
        with _lock:
            _alive.add(self)

    def ask(self, request: dict[str, Any], content: bytes | None) -> dict[str, Any]:
        """Its answer; its exit `status` where it ended without one, and whether it was `stopped` from here."""
        self.documents += 1
        assert self._process.stdin is not None and self._process.stdout is not None
        line = b""
        with contextlib.suppress(BrokenPipeError, ValueError):  # it was ended
            self._process.stdin.write(json.dumps(request).encode() + b"\n" + (content or b""))
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if line.endswith(b"\n"):
            return dict(json.loads(line))
        stopped = self not in _alive
        return {"status": self.end(), "stopped": stopped}

    def end(self) -> int:
        """End it, if it still is there; its exit status."""
        with _lock:
            _alive.discard(self)
        return end_worker(self._process)


_lock = threading.Lock()
_alive: set[_Worker] = set()
_idle: list[_Worker] = []


def _borrow() -> _Worker:
    with _lock:
        while _idle:
            if (worker := _idle.pop()) in _alive:
                return worker
    return _Worker()


def _give_back(worker: _Worker) -> None:
    if worker.documents >= _DOCUMENTS:
        worker.end()
    with _lock:
        if worker in _alive:
            _idle.append(worker)


def _may_be_of_earlier_documents(answer: dict[str, Any]) -> bool:
    """Whether what earlier documents have left in the process may be to blame."""
    crashed = "status" in answer and answer["status"] != -signal.SIGPROF and not answer["stopped"]
    return crashed or "out_of_memory" in answer


def _cause(status: int | None) -> str:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"


atexit.register(end_parsers)
