"""All rounds first, then one training on all pairs: the order of a run whose rewards need no training."""

import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from equal_hf import (
    ClusteredCorpus,
    CollectorConfig,
    EqualConfig,
    EqualDataCollector,
    EqualTrainer,
    ExplicitExtractor,
    loss_drop_reward,
    value_reward,
)
from equal_hf.errors import ConfigError, ExtractionError, ResumeError
from equal_hf.records.run_folder import RoundRecords
from equal_hf.target import conversational
from equal_hf.training.round_feed import RoundFeed
from tests.processes import free_port, run
from tests.training.test_trainer import FailAfter
from tests.world import make_target

ROUNDS = {"num_rounds": 3, "arms_per_round": 2, "documents_per_arm": 4}


def collector_of(world, args, extractor=None, rewards=(value_reward,)):
    target = make_target()
    return EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"),
        extractor or ExplicitExtractor(),
        reward_funcs=list(rewards),
        args=args,
        reference=target.reference,
        protected=[*target.validation, *target.test],
    )


def make(world, folder, *, extractor=None, rewards=(value_reward,), **settings):
    settings = {
        **ROUNDS,
        "pool_epochs": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 2e-3,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "max_length": 128,
        "logging_steps": 1,
        "disable_tqdm": True,
    } | settings
    config = EqualConfig(output_dir=str(folder), **settings)
    return EqualTrainer(
        str(world / "model"),
        config,
        data_collector=collector_of(world, config, extractor, rewards),
        eval_dataset=conversational(make_target().validation),
        processing_class=AutoTokenizer.from_pretrained(world / "model"),
    )


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    trainer = make(world, tmp_path_factory.mktemp("whole"))
    trainer.train()
    trainer.data_collector.close()
    return trainer


def weights(trainer):
    return (trainer.export_model() / "model.safetensors").read_bytes()


def test_the_rounds_are_those_of_a_run_without_a_trainer_and_all_pairs_are_trained_on_once(world, whole, tmp_path):
    alone = collector_of(world, CollectorConfig(output_dir=str(tmp_path), **ROUNDS))
    rounds = list(alone.rounds())
    records = RoundRecords(whole.run_dir)
    assert [records.load(index) for index in records.indices()] == rounds
    assert [records.reward_record(i) for i in range(3)] == [alone.records.reward_record(i) for i in range(3)]
    steps = 2 * -(-sum(len(round.pairs) for round in rounds) // 4)
    assert (whole.rounds_trained, whole.steps_trained, whole.pool_steps_trained) == (3, 0, steps)
    losses = [entry["eval_loss"] for entry in whole.state.log_history if "eval_loss" in entry]
    assert len(losses) == 3 and losses[0] > losses[-1], "before the first step and after each epoch"


def test_the_rate_decays(whole):
    rates = [entry["learning_rate"] for entry in whole.state.log_history if "learning_rate" in entry]
    assert len(rates) == whole.pool_steps_trained
    assert rates[0] == pytest.approx(2e-3) and rates[-1] < 2e-5
    assert np.all(np.diff(rates) <= 0)


def test_a_run_that_was_collected_is_trained_on_without_another_call(world, whole, tmp_path):
    alone = collector_of(world, CollectorConfig(output_dir=str(tmp_path), **ROUNDS))
    list(alone.rounds())
    alone.close()

    class Never(ExplicitExtractor):
        def extract(self, documents, allowance=None):
            raise AssertionError("it is all there")

    trainer = make(world, tmp_path, extractor=Never())
    trainer.train()
    assert weights(trainer) == weights(whole)


def test_killed_while_collecting_and_while_training_it_ends_the_same(world, whole, tmp_path):
    class Dies(ExplicitExtractor):
        calls = 0

        def extract(self, documents, allowance=None):
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("killed")
            return super().extract(documents, allowance)

    first = make(world, tmp_path, extractor=Dies())
    with pytest.raises(RuntimeError, match="killed"):
        first.train(resume_from_checkpoint=True)
    first.data_collector.close()
    second = make(world, tmp_path)
    second.add_callback(FailAfter(steps=whole.pool_steps_trained // 2 + 1, folder="pool"))
    with pytest.raises(RuntimeError, match="killed"):
        second.train(resume_from_checkpoint=True)
    second.data_collector.close()
    third = make(world, tmp_path)
    third.train(resume_from_checkpoint=True)
    assert (third.rounds_trained, third.pool_steps_trained) == (3, whole.pool_steps_trained)
    assert weights(third) == weights(whole)


def test_what_waits_for_a_training_needs_the_closed_loop(world, tmp_path):
    with pytest.raises(ConfigError, match=r"waits for a training but `closed_loop` is false.*set it to true"):
        make(world, tmp_path, rewards=[value_reward, loss_drop_reward])
    with pytest.raises(ConfigError, match=r"`pair_values` names influence.*`closed_loop` is false"):
        make(world, tmp_path, pair_values=["influence"])


def test_checkpoints_of_a_training_round_by_round_are_not_gone_on_from(world, tmp_path):
    first = make(world, tmp_path, closed_loop=True, rows_per_round=8, pool_epochs=None)
    first.train()
    first.data_collector.close()
    again = make(world, tmp_path)
    with pytest.raises(ResumeError, match=r"checkpoint-\d+ is of a training round by round.*`closed_loop` is false"):
        again.train(resume_from_checkpoint=True)


def test_a_review_stops_it_before_anything_is_trained(world, tmp_path):
    trainer = make(world, tmp_path, review_after=1)
    trainer.train()
    assert trainer.waits_for_review and trainer.pool_steps_trained == 0
    assert RoundRecords(tmp_path).indices() == [0]


def test_a_budget_that_gave_no_pair_stops_with_the_reason(world, tmp_path):
    trainer = make(world, tmp_path, extractor=ExplicitExtractor(kinds=("doctest",)))
    with pytest.raises(ExtractionError, match="24 documents gave not a single pair"):
        trainer.train()


def test_trackers_that_were_not_there_get_the_rounds_from_the_records(whole):
    logged, _ = RoundFeed(whole.data_collector, whole.args).collect_all()
    assert [entry["equal/round"] for entry in logged] == [0, 1, 2] and {entry["step"] for entry in logged} == {0}
    json.dumps(logged)


def test_settings_of_the_other_order_are_told_apart(tmp_path):
    common = {"output_dir": str(tmp_path), "num_rounds": 1, "use_cpu": True, "bf16": False}
    once, loop = EqualConfig(**common), EqualConfig(closed_loop=True, **common)
    assert (once.pool_epochs, str(once.lr_scheduler_type.value)) == (3.0, "cosine")
    assert (loop.pool_epochs, str(loop.lr_scheduler_type.value)) == (0.0, "constant_with_warmup")
    assert EqualConfig(lr_scheduler_type="linear", **common).lr_scheduler_type.value == "linear"
    with pytest.raises(ConfigError, match=r"`rows_per_round` has no effect here.*`closed_loop: true`"):
        EqualConfig(rows_per_round=8, **common)
    with pytest.raises(ConfigError, match="`pool_epochs` is 0, which trains on nothing"):
        EqualConfig(pool_epochs=0, **common)


def test_two_processes_collect_once_and_train_together(world, whole, tmp_path):
    flags = (
        "--closed_loop False --rows_per_round 512 --pool_epochs 1 --rewards value --num_rounds 3 --arms_per_round 2"
    )
    arguments = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    arguments += ["-m", "tests.training.train_world", "--world", str(world), "--output_dir", str(tmp_path / "run")]
    run([*arguments, *flags.split()], tmp_path / "log")
    records, alone = RoundRecords(tmp_path / "run"), RoundRecords(whole.run_dir)
    assert [records.load(index) for index in records.indices()] == [alone.load(index) for index in alone.indices()]
    pairs = sum(len(records.load(index).pairs) for index in records.indices())
    (checkpoint,) = (tmp_path / "run/pool").glob("checkpoint-*")
    assert checkpoint.name == f"checkpoint-{-(-pairs // 16)}"
