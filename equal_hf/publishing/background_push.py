"""Rounds on the Hub as they complete: in the background, in few commits, and never in the way of the run."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equal_hf.publishing.hub import publish_dataset
from equal_hf.records.json_files import write_json
from equal_hf.utils.redaction import mask_text

logger = logging.getLogger(__name__)

LAST_PUSH = "hub/last_push.json"


class RoundPublisher:
    """Pushes rounds to the Hub from a background thread as they complete, and never fails the run.

    Rounds that complete within `every_s` of the last push go together, since the Hub limits commits an hour; a run
    that is started again keeps to that too. A push that fails is logged and made up for by the next one, at the latest
    by `close`. Have one on the main process only.

    Args:
        run_dir (`str` or `Path`): The run folder.
        repo_id (`str`): The dataset repository.
        every_s (`float`, *optional*, defaults to `300.0`): Seconds between pushes at least.
        private (`bool`, *optional*): As in [`publish_dataset`].
        token (`str`, *optional*): As in [`publish_dataset`].
        close_within_s (`float`, *optional*, defaults to `1800.0`): Seconds that `close` waits at most.
    """

    def __init__(
        self,
        run_dir: str | Path,
        repo_id: str,
        *,
        every_s: float = 300.0,
        private: bool | None = None,
        token: str | None = None,
        close_within_s: float = 1800.0,
    ) -> None:
        self.run_dir, self.repo_id, self.every_s, self.close_within_s = run_dir, repo_id, every_s, close_within_s
        self._options: dict[str, Any] = {"private": private, "token": token}
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def notify(self) -> None:
        """A round or its rewards were recorded. Returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="equal-hf-publisher", daemon=True)
            self._thread.start()
        self._due.set()

    def close(self, summary: Mapping[str, Any] | None = None) -> str | None:
        """Wait for a push under way, then push what is left; for `close_within_s` at most.

        Args:
            summary (`Mapping[str, Any]`, *optional*): EQUAL beside its control, for the card.

        Returns:
            `str` or `None`: The dataset's address; `None` where that failed, which is logged.
        """
        self._closing.set()
        self._due.set()
        before, pushed = self._thread, list[str | None]()

        def finish() -> None:
            if before is not None:
                before.join()
            pushed.append(self._publish(summary=summary))

        # A Hub that accepts calls and never answers must not keep the run from ending.
        self._thread = threading.Thread(target=finish, name="equal-hf-publisher", daemon=True)
        self._thread.start()
        self._thread.join(self.close_within_s)
        if not pushed:
            logger.warning(
                "The dataset was not pushed to %s within %g s; the run folder has everything: publish it again later",
                self.repo_id,
                self.close_within_s,
            )
            return None
        self._thread = None
        return pushed[0]

    def _work(self) -> None:
        self._closing.wait(self._rest_s())
        while self._due.wait() and not self._closing.is_set():
            self._due.clear()
            self._publish(attempts=1)
            self._closing.wait(self.every_s)

    def _rest_s(self) -> float:
        """What is left of `every_s` since a push by the process before this one."""
        path = Path(self.run_dir) / LAST_PUSH
        began = json.loads(path.read_text(encoding="utf-8"))["began"] if path.exists() else -math.inf
        return min(self.every_s, max(0.0, began + self.every_s - time.time()))

    def _publish(self, **options: Any) -> str | None:
        try:
            write_json(Path(self.run_dir) / LAST_PUSH, {"began": time.time()})
            with _no_progress_bars():
                return publish_dataset(self.run_dir, self.repo_id, **self._options, **options)
        except Exception as error:  # whatever it is, a failed push must not cost the run
            remedy = "" if not self._closing.is_set() else "; the run folder has everything: publish it again later"
            logger.warning("The dataset was not pushed to %s: %s%s", self.repo_id, mask_text(str(error)), remedy)
            return None


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep uploads in the background from writing over the progress of the training."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
