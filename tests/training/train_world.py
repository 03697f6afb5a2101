"""Train on the small world in a process of its own, one that tests may kill or start on several ranks.

python -m tests.training.train_world --world DIR --output_dir DIR [any EqualConfig flag]
torchrun --nproc_per_node 2 -m tests.training.train_world …
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed.distributed_c10d import _get_default_group, _set_pg_timeout
from transformers import AutoTokenizer
from trl import TrlParser

from equal_hf import (
    ClusteredCorpus,
    EndpointExtractor,
    EqualConfig,
    EqualDataCollector,
    EqualTrainer,
    ExplicitExtractor,
)
from equal_hf.cli import in_one_line
from equal_hf.selection.config import REWARD_FUNCTIONS
from equal_hf.target import conversational
from equal_hf.tracking.trackers import tracked
from equal_hf.utils.logging import set_up_terminal
from tests.world import make_target


@dataclass
class WorldArguments:
    world: str = ""
    resume: bool = True
    trackers: list[str] = field(default_factory=list)  # as `report_to`, which takes one on a command line
    rewards: list[str] = field(default_factory=lambda: ["transport", "loss_drop"])
    endpoint: str | None = None  # else documents state their pairs
    first_extraction_s: float = 0.0  # of this start
    collectives_wait_s: float | None = None  # once all processes are there


class SlowAtFirst(ExplicitExtractor):
    """Takes its time once."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def extract(self, documents: Any, allowance: Any = None) -> Any:
        time.sleep(self.seconds)
        self.seconds = 0.0
        return super().extract(documents, allowance)


DEFAULTS = (
    "--closed_loop True --num_rounds 4 --arms_per_round 3 --documents_per_arm 4 --rows_per_round 24 "
    "--per_device_train_batch_size 8 --learning_rate 2e-3 --use_cpu --bf16 False --gradient_checkpointing False "
    "--max_length 128 --disable_tqdm True"
).split()


def main(argv: list[str]) -> int:
    arguments, config = TrlParser((WorldArguments, EqualConfig)).parse_args_and_config([*DEFAULTS, *argv])
    config.report_to = arguments.trackers
    world, target = Path(arguments.world), make_target()
    extractor: Any = SlowAtFirst(arguments.first_extraction_s)
    if arguments.endpoint:
        store = Path(str(config.output_dir)) / "responses.sqlite"
        extractor = EndpointExtractor(arguments.endpoint, concurrency=4, max_new_tokens=100, store=store)
    collector = EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"),
        extractor,
        reward_funcs=[REWARD_FUNCTIONS[name] for name in arguments.rewards],
        args=config,
        reference=target.reference,
        protected=[*target.validation, *target.test],
    )
    set_up_terminal(is_main_process=config.process_index == 0)
    trainer = EqualTrainer(
        str(world / "model"),
        config,
        data_collector=collector,
        eval_dataset=conversational(target.validation),
        processing_class=AutoTokenizer.from_pretrained(world / "model"),
    )
    trainer.open_run()
    if arguments.collectives_wait_s is not None:
        _set_pg_timeout(timedelta(seconds=arguments.collectives_wait_s), _get_default_group())
    with tracked(config, name="world", id=collector.run_file.run_id()):
        trainer.train(resume_from_checkpoint=arguments.resume)
    trainer.export_model()
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(sys.argv[1:])))
