"""The process that parses: one document after the other, each within a limit of time and memory.

A parser of other people's files may hang, take all memory, or crash. Here it does so alone. A request is a line of
JSON, with the file's content behind it where it is sent along; the answer is a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from equal_hf.corpus.formats.html_page import NotReadable, page_document
from equal_hf.corpus.formats.pdf_file import pdf_document


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides
    logging.disable(logging.CRITICAL)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        content = sys.stdin.buffer.read(request["bytes"]) if "bytes" in request else None
        _limit_time(request["seconds"])
        _limit_memory(request["memory"])
        answer = _answer(request, content)
        _limit_time(0)
        del content
        answers.write(answer.encode() + b"\n")
        answers.flush()


def _answer(request: dict[str, Any], content: bytes | None) -> str:
    try:
        return json.dumps(_parse(request, content))
    except MemoryError:
        return json.dumps({"out_of_memory": True})
    except NotReadable as error:
        return json.dumps({"problem": str(error)})
    except RecursionError:
        return json.dumps({"problem": "it is nested too deeply"})
    except Exception as error:
        return json.dumps({"problem": f"its parser failed ({type(error).__name__}: {error})"[:300]})


def _parse(request: dict[str, Any], content: bytes | None) -> dict[str, Any]:
    if request["format"] == "html" and content is not None:
        return page_document(content, request["charset"])
    if content is not None:
        return pdf_document(content)
    with open(request["path"], "rb") as file:
        return pdf_document(file)


def _limit_time(seconds: float) -> None:
    """End this process, whatever it is in, when it has computed that long; 0 for no limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(most: int) -> None:
    """Let it take that much beside what it has; only Linux tells, and keeps, that."""
    with contextlib.suppress(OSError, ValueError):
        has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + most, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
