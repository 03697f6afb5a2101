"""One of two ranks whose rank 0 works for some seconds, their process group waiting for three, and then without end.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=… python -m tests.utils.two_ranks MARK SECONDS

Writes `MARK.<rank>` with what the first work gave, and touches `MARK` when the second one has begun.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState
from torch.distributed.distributed_c10d import _get_default_group, _set_pg_timeout

from equal_hf.cli import in_one_line
from equal_hf.training.main_process import on_main
from equal_hf.utils import rank_zero

TIMEOUT_S = 3.0
rank_zero.BEAT_EVERY_S, rank_zero.SILENT_S = 0.5, 3.0


def main(mark: Path, seconds: float) -> int:
    state = PartialState(cpu=True)
    state.wait_for_everyone()
    _set_pg_timeout(timedelta(seconds=TIMEOUT_S), _get_default_group())

    def work() -> str:
        time.sleep(seconds)
        return "found"

    mark.with_suffix(f".{state.process_index}").write_text(on_main(work))

    def endless() -> None:
        mark.touch()
        time.sleep(600)

    on_main(endless)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(Path(sys.argv[1]), float(sys.argv[2]))))
