"""Starting W&B where there may be no key and no network, and without a secret in what it records."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from equal_hf.tracking.media import import_tracker
from equal_hf.utils.printable import first_line
from equal_hf.utils.redaction import mask_text, mask_url, sanitise

logger = logging.getLogger(__name__)

_REACH_S = 10.0


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
    with masked_command():
        wandb = import_tracker("wandb")
        wandb.setup()
    if wandb.run is not None or os.environ.get("WANDB_MODE") or wandb.setup().settings.mode != "online":
        return
    # With a key W&B asks its server about it, and one that is not there it may ask for minutes.
    settings = wandb.setup().settings
    problem = _unreachable(settings.base_url) if settings.api_key or os.environ.get("WANDB_API_KEY") else ""
    if not problem:
        try:
            problem = "" if wandb.login(prompt=False) else "no key is set (WANDB_API_KEY, or `wandb login`)"
        except wandb.errors.Error as error:
            problem = mask_text(first_line(error))
    if problem:
        os.environ["WANDB_MODE"] = "offline"
        wandb.teardown()  # it read its environment before
        logger.warning("W&B logs offline, to upload later with `wandb sync`: %s", problem)


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
