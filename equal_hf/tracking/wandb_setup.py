"""Starting W&B where there may be no key and no network, and without a secret in what it records.

A tracker never ends a run: where W&B cannot log online it logs to the disk, where it cannot do that it is left out.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equal_hf.tracking.media import import_tracker
from equal_hf.utils.printable import first_line
from equal_hf.utils.redaction import mask_text, mask_url, sanitise

logger = logging.getLogger(__name__)

_REACH_S = 10.0
_INIT_TIMEOUT_S = 30.0
_FINISH_TIMEOUT_S = 300.0  # for what is still to be uploaded at the end of a run; W&B itself waits for ever


def prepare_wandb(project: str | None = None) -> None:
    """Make W&B usable without a key or a network: it then logs to the disk, and one line says so.

    Call it on the main process, before anything starts a W&B run.

    Args:
        project (`str`, *optional*): The project, unless WANDB_PROJECT names one; transformers takes it from there.

    Raises:
        [`MissingDependencyError`]: If wandb is not installed.
    """
    if project is not None:
        os.environ.setdefault("WANDB_PROJECT", project)
    wandb = import_tracker("wandb")
    if wandb.run is not None:
        return
    _leave_others_service()
    with masked_command():
        wandb.setup()
    if os.environ.get("WANDB_MODE", wandb.setup().settings.mode) != "online":
        return
    # With a key W&B asks its server about it, and one that is not there it may ask for minutes.
    settings = wandb.setup().settings
    asked = settings.api_key or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE")
    problem = _unreachable(settings.base_url) if asked else ""
    if not problem:
        try:
            problem = "" if wandb.login(prompt=False) else "no key is set (WANDB_API_KEY, or `wandb login`)"
        except Exception as error:  # W&B's own, of its HTTP client, of a file with keys
            problem = mask_text(first_line(error))
    if problem:
        _go_offline(wandb, problem)


def start_wandb(**settings: Any) -> Any:
    """Start a W&B run: offline where it cannot log online, and `None` where that fails too. Each is a warning.

    Args:
        **settings: As of `wandb.init`.

    Raises:
        [`MissingDependencyError`]: If wandb is not installed.
    """
    wandb = import_tracker("wandb")
    waits = wandb.Settings(init_timeout=_INIT_TIMEOUT_S, finish_timeout=_FINISH_TIMEOUT_S)
    for last in (False, True):
        try:
            with masked_command():
                return wandb.init(settings=waits, **settings)
        except Exception as error:
            problem = mask_text(first_line(error))
            if last or os.environ.get("WANDB_MODE") == "offline":
                logger.warning("W&B is left out of this run, which goes on: %s", problem)
                return None
            _go_offline(wandb, problem)
    return None


def earlier_folders(folder: str | Path, run: Any) -> list[Path]:
    """What earlier starts of a run logged offline: W&B begins a folder with every start.

    Args:
        folder (`str` or `Path`): The run folder.
        run (`wandb.Run`): The W&B run of this start.
    """
    found = Path(folder).glob(f"wandb/offline-run-*-{run.id}")
    return sorted(path for path in found if path.resolve() != Path(run.dir).parent.resolve())


def _go_offline(wandb: Any, problem: str) -> None:
    os.environ["WANDB_MODE"] = "offline"
    wandb.teardown()  # it read its environment before
    logger.warning("W&B logs offline, to upload later with `wandb sync`: %s", problem)


def _leave_others_service() -> None:
    """Have this process start a W&B service of its own, where it was itself started by a process that has one.

    The address of a service is handed on in the environment. A run that is killed would stay open in the service of
    its parent, and its next start be refused there: "run ID … is in use".
    """
    address = os.environ.get("WANDB_SERVICE", "")
    if (owner := re.match(r"\d+-(\d+)-", address)) and int(owner[1]) != os.getpid():
        del os.environ["WANDB_SERVICE"]


def _unreachable(url: str) -> str:
    """Why nobody can be reached at a URL; empty where somebody listens, or a proxy would have to be asked."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme in getproxies():
        return ""
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=_REACH_S).close()
    except OSError as error:
        return mask_text(f"{parts.hostname}:{address[1]} cannot be reached ({error})")
    return ""


@contextmanager
def masked_command() -> Iterator[None]:
    """Take secrets out of what W&B records by itself when it starts: command line and address of a git remote.

    Of an address with credentials in it W&B takes out a password, but not a token that stands for a user. Where there
    is such a remote it is kept from looking at git.
    """
    before = sys.argv
    sys.argv = sanitise(before)
    if "WANDB_DISABLE_GIT" not in os.environ and _remote_has_credentials():
        os.environ["WANDB_DISABLE_GIT"] = "true"
    try:
        yield
    finally:
        sys.argv = before


def _remote_has_credentials() -> bool:
    command = ["git", "config", "--get-regexp", r"^remote\..*url$"]
    try:
        remotes = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return mask_url(remotes) != remotes
