"""The processes of a run: who does which piece, and that all of them stop when one has to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from equal_hf.errors import CorpusError, EqualError
from equal_hf.utils.rank_zero import once, start_heartbeat, stop_heartbeat

T = TypeVar("T")

# Ranks wait for each other as long as a stage takes them.
PATIENCE = timedelta(days=7)


class Ranks:
    """Processes started by `accelerate launch` or `torchrun`; one alone where nothing started several.

    Args:
        alone (`bool`, *optional*, defaults to `False`): This process by itself, whatever started it.

    Attributes:
        rank (`int`): This process, from 0.
        size (`int`): How many there are.
        local_size (`int`): How many share this machine.
    """

    def __init__(self, *, alone: bool = False) -> None:
        environment = {} if alone else os.environ
        self.rank = int(environment.get("RANK", 0))
        self.size = int(environment.get("WORLD_SIZE", 1))
        self.local_size = int(environment.get("LOCAL_WORLD_SIZE", self.size))
        self._group: Any = None
        self._started = False
        if self.size > 1:
            import torch
            from accelerate import PartialState

            self._started = not torch.distributed.is_initialized()
            PartialState(cpu=not torch.cuda.is_available())
            # What is exchanged are small Python objects, which need no GPU and no GPU library's deadlines.
            self._group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
            start_heartbeat(self.first)

    @property
    def first(self) -> bool:
        """Whether this process is rank 0, which does what cannot be shared."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> list[T]:
        """The share of the items that is this process' to do."""
        return list(items[self.rank :: self.size])

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank, on every process."""
        if self._group is None:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do something on every process and exchange the results.

        Raises:
            EqualError: On every process, when it failed on one.
        """
        result: Any = None
        problem: EqualError | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except EqualError as error:
            problem = error
        except Exception as error:
            failed, problem = error, CorpusError(f"rank {self.rank} failed: {type(error).__name__}: {error}")
        problems = self.gather(None if problem is None else (type(problem).__name__, str(problem)))
        if failed is not None:
            raise failed
        if problem is not None:
            raise problem
        for rank, other in enumerate(problems):
            if other is not None:
                raise CorpusError(f"rank {rank} stopped with {other[0]}: {other[1]}")
        return self.gather(result)

    def once(self, work: Callable[[], T]) -> T:
        """Do something on rank 0, the others waiting, and give everybody its result.

        Raises:
            EqualError: On every process, when it failed.
        """
        if self._group is None:
            return work()
        import torch.distributed as dist

        return once(
            self.first, work, lambda box: dist.broadcast_object_list(box, src=0, group=self._group), CorpusError
        )

    def close(self) -> None:
        """Leave the group, and end what was started for it."""
        if self._group is not None:
            import torch.distributed as dist

            if self._started:
                stop_heartbeat()
            dist.destroy_process_group(None if self._started else self._group)
            self._group = None
