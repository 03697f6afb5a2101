"""Fixtures shared by all tests; nothing here leaves the machine."""

import logging
import os
import signal

# Read when they are imported, by libraries that would otherwise ask the network at every start.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "offline")
# Models this small gain nothing from a second thread, and threads that wait for each other are slow on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.servers.hub import HubServer
from tests.world import build_world

# A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test fails because the machine is busy.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def library_log() -> None:
    """Messages go to the root logger, as with any library, also after a command ran in this process."""
    ours = logging.getLogger("equal_hf")
    ours.handlers, ours.propagate = [], True
    ours.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Documents, target, models and a clustered corpus, made once; read only."""
    return build_world(tmp_path_factory.mktemp("world"))


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
    monkeypatch.setattr("equal_hf.utils.hub_retry._wait", lambda response, attempt: 0.0)
    return hub_server


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Long texts do not name their case."""
    return argname if isinstance(val, str | bytes) and len(val) > 100 else None
