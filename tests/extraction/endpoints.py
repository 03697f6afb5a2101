"""What the endpoint tests share: an extractor with a short prompt, and canned replies."""

from __future__ import annotations

import json
import re
import urllib.request

from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.types import Extraction, Usage
from tests.servers.faults import Fault

PAIRS = '{"pairs": [{"question": "How many apples?", "answer": "Twelve."}]}'

# Half the time of a request to a tiny model goes into reading a long prompt.
SHORT = PromptTemplate("List question-answer pairs as JSON.\n{{ fence }}\n{{ document }}\n{{ fence }}")


def extractor(url: str, **options) -> EndpointExtractor:
    return EndpointExtractor(url, **({"max_new_tokens": 200, "max_retries": 3, "prompt": SHORT} | options))


def total(extractions: list[Extraction]) -> Usage:
    return sum((extraction.usage for extraction in extractions), Usage())


def completion(content: str | None = PAIRS, **changes) -> Fault:
    """A reply as a server would give it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body = {"id": "", "created": 1, "model": "m", "system_fingerprint": "", "choices": [choice], "usage": usage}
    return Fault(body=json.dumps(body | changes))


MODELS = {"/v1/models": Fault(body='{"data": [{"id": "m"}]}')}


def paid(url: str) -> int:
    """How many chat requests a façade has let in."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    return int(re.search(r"^tgi_request_count (\d+)$", text, re.MULTILINE)[1])
