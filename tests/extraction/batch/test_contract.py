"""What is sent for a batch, and what the stand-in answers, against OpenAI's published description."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import jsonschema
import pytest

from tests.extraction.batch.test_batches import PLAN, RULES, client, documents
from tests.extraction.openai_description import Description, needs_description
from tests.servers.batches import BatchStandIn


@needs_description
def test_batches_are_as_described(tmp_path) -> None:
    validate = Description.load().validate
    with BatchStandIn(RULES, tmp_path / "server", [PLAN]) as server:
        client(server, tmp_path).extract(documents(3))
        (asked,), (file,) = server.submissions, server.uploads
        validate("CreateBatchRequest", asked)
        for line in file.splitlines():
            sent = json.loads(line)
            assert {"custom_id", "method", "url", "body"} == set(sent)
            validate("CreateChatCompletionRequest", sent["body"])
        server.save_file("file-kept", "kept.jsonl", file, "batch")
        (batch,) = _get(server, "/v1/batches")["data"]
        validate("Batch", {name: value for name, value in batch.items() if value is not None})
        validate("ListFilesResponse", _get(server, "/v1/files?purpose=batch"))
        for canary in ({"completion_window": "1h"}, {"endpoint": "/v1/chat"}, {"input_file_id": None}):
            with pytest.raises(jsonschema.ValidationError):
                validate("CreateBatchRequest", asked | canary)


def _get(server: BatchStandIn, path: str) -> Any:
    headers = {"Authorization": f"Bearer {RULES.key}"}
    return httpx2.get(f"{server.origin}{path}", headers=headers, trust_env=False).json()
