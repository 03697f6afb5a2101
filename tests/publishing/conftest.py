"""A run folder, and the Hub stand-in with this process as its client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publishing.runs import make_run
from tests.servers.hub import HubServer


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Three rounds, all credited."""
    return make_run(tmp_path / "run")


@pytest.fixture(scope="session")
def hub_server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The Hub stand-in, and this process a client of it that may write; waits between attempts are not waited."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    hub_server.reset()
    disable_progress_bars()
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.setattr("equal_hf.publishing.patience._wait", lambda response, attempt: 0.0)
    return hub_server
