"""Two real processes: one waits for the other longer than a collective would, and no longer than that lives."""

import signal
from datetime import timedelta

import pytest

from tests.processes import free_port, kill, kill_when, start


@pytest.mark.parametrize(
    ("seconds", "outlives", "ended_by", "words"),
    [
        # As torchrun keeps the store: in a process of its own.
        (4.5, True, signal.SIGKILL, "EqualError: rank 0 has not been heard of for "),
        # Where nothing launched them the store is rank 0's.
        (0, False, signal.SIGKILL, "EqualError: rank 0 is gone"),
        (0, True, signal.SIGINT, "EqualError: rank 0 was stopped by KeyboardInterrupt"),
    ],
)
def test_long_work_is_waited_for_as_long_as_its_rank_lives(tmp_path, seconds, outlives, ended_by, words):
    from torch.distributed import TCPStore

    port, mark = free_port(), tmp_path / "mark"
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    store = None
    if outlives:
        store = TCPStore("127.0.0.1", port, None, True, timedelta(seconds=60), wait_for_workers=False)
        group["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    arguments, logs = (
        ["-m", "tests.utils.two_ranks", str(mark), str(seconds)],
        [tmp_path / "0.log", tmp_path / "1.log"],
    )
    ranks = [start(arguments, log, **group, RANK=str(rank), LOCAL_RANK=str(rank)) for rank, log in enumerate(logs)]
    try:
        assert kill_when(ranks[0], mark.exists, number=ended_by), logs[0].read_text()
        assert ranks[1].wait(60) == 1
    finally:
        for rank in ranks:
            if rank.poll() is None:
                kill(rank)
    assert [mark.with_suffix(f".{rank}").read_text() for rank in (0, 1)] == ["found", "found"]
    (line,) = (line for line in logs[1].read_text().splitlines() if line.startswith("EqualError"))
    assert line.startswith(words)
    del store
