"""Who asks for a response: one asker at a time, over all processes that share a store; the others wait for it.

A lease is a row of the store with an owner and an end. Its owner renews it while it asks; one whose process is gone,
or that was not renewed in time, is anybody's.

>>> is_gone(owner_id())
False
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

LEASE_S = 60.0  # longer than any pause of a process that lives, short enough to wait for where it cannot be seen
RENEW_EVERY_S = 10.0


def owner_id() -> str:
    """Names an asker: machine, process, when that began, and a number of its own."""
    return f"{_machine()}|{os.getpid()}|{_started(os.getpid())}|{secrets.token_hex(8)}"


def is_gone(owner: str) -> bool:
    """Whether the process of an owner has ended, as far as this one can see.

    Args:
        owner (`str`): From [`owner_id`].
    """
    machine, pid, started, _ = owner.rsplit("|", 3)
    return machine == _machine() and _started(int(pid)) != started


def _machine() -> str:
    """What a process id is unique in: a host, and a container of it."""
    try:
        return f"{socket.gethostname()}|{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process began; empty where there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "unknown"
