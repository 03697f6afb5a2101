"""Work of rank 0 that the other processes wait for as long as it takes, provided that rank 0 lives.

A collective (`barrier`, `broadcast`) gives up after the time-out of its process group (`ddp_timeout`), which is meant
for training steps; an extraction may take hours, and rank 0 may be killed meanwhile. So the others look into the
group's key-value store: rank 0 counts up a key there every few seconds, and sets another one when the work is done.
Only then, with everybody there, the result goes around by a collective.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from equal_hf.errors import EqualError

T = TypeVar("T")

BEAT_EVERY_S = 5.0
SILENT_S = 120.0  # a live process may be held up as long as that, by memory on disk or by a library
UNHEARD_S = 1800.0  # until the first beat: rank 0 may still be loading what it needs
_LOOK_EVERY_S = 0.25
_DONE = b"done"


class _Heartbeat:
    """A thread of rank 0 that counts up a key of the store until the process ends, or the store does."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    def start(self, store: Any) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(store, self._end), name="equal-hf-heartbeat", daemon=True
        )
        self._thread.start()
        atexit.register(self.stop)  # a thread inside the store's own code must not see the interpreter end

    def stop(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(BEAT_EVERY_S)
            self._thread = None

    @staticmethod
    def _beat(store: Any, end: threading.Event) -> None:
        try:
            while not end.is_set():
                store.add("beats", 1)
                end.wait(BEAT_EVERY_S)
        except RuntimeError:  # the store is gone, and with it everybody who looks into it
            return


_HEARTBEAT = _Heartbeat()
_TURNS = itertools.count()  # the same on every process, which all take part in each


def start_heartbeat(first: bool) -> None:
    """Let the others know from now on that rank 0 lives. Does nothing where there are no others, or more than once.

    Args:
        first (`bool`): Whether this process is rank 0.
    """
    if first and (store := _store()) is not None:
        _HEARTBEAT.start(store)


def stop_heartbeat() -> None:
    """Before the process group is destroyed."""
    _HEARTBEAT.stop()


def once(
    first: bool, work: Callable[[], T], share: Callable[[list[Any]], Any], error: type[EqualError] = EqualError
) -> T:
    """Do something on rank 0, the others waiting, and give everybody its result. To be called by every process.

    Args:
        first (`bool`): Whether this process is rank 0.
        work (`Callable`): What is done there. Its result can be pickled.
        share (`Callable`): Fills a list of one, on the other processes, with what is in that of rank 0: a collective.
        error (`type[EqualError]`, *optional*): What is raised on the other processes.

    Raises:
        [`EqualError`]: On the other processes, if it fails there, or rank 0 stops or is heard of no more.
    """
    store, turn = _store(), f"turn/{next(_TURNS)}"
    outcome: list[Any] = [None]
    failed: Exception | None = None
    if first:
        start_heartbeat(first)
        how = _DONE
        try:
            outcome = [(work(), None)]
        except Exception as raised:
            failed, outcome = raised, [(None, f"rank 0 stopped with {type(raised).__name__}: {raised}")]
        except BaseException as raised:  # an interrupt ends this process, so that nothing goes around
            how = type(raised).__name__.encode()
            raise
        finally:
            if store is not None:
                store.set(turn, how)
    elif store is not None and (how := _wait(store, turn, error)) != _DONE:
        raise error(f"rank 0 was stopped by {how.decode()}")
    share(outcome)
    if failed is not None:
        raise failed
    result, problem = outcome[0]
    if problem is not None:
        raise error(problem)
    return result  # type: ignore[no-any-return]


def _wait(store: Any, turn: str, error: type[EqualError]) -> bytes:
    """Wait for the end of a turn; what is set there."""
    heard_s, beats, pause_s = time.monotonic(), 0, 0.001
    try:
        while not store.check([turn]):
            now_s, count = time.monotonic(), store.add("beats", 0)
            if count != beats:
                heard_s, beats = now_s, count
            elif now_s - heard_s > (SILENT_S if beats else UNHEARD_S):
                raise error(
                    f"rank 0 has not been heard of for {now_s - heard_s:.0f} s: it was killed, or its machine stands "
                    "still. Start the same command again; what it had recorded is kept"
                )
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LOOK_EVERY_S)
        return bytes(store.get(turn))
    except RuntimeError as gone:  # of the store, which ends with rank 0 where nothing else keeps it
        raise error(
            f"rank 0 is gone ({type(gone).__name__}). Start the same command again; what it had recorded is kept"
        ) from gone


def _store() -> Any:
    """The key-value store by which the processes found each other; `None` where there is no group of several.

    It has an address that every machine reaches, which a store of one's own would have to be given.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    from torch.distributed.distributed_c10d import _get_default_store

    return dist.PrefixStore("equal_hf", _get_default_store())
