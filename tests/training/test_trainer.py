"""The trainer: exact rounds, rewarded arms, and the errors it stops with."""

import contextlib
import hashlib
import json
import re
import threading
import time
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer, TrainerCallback

from equal_hf import (
    ClusteredCorpus,
    EndpointExtractor,
    EqualConfig,
    EqualDataCollector,
    EqualTrainer,
    ExplicitExtractor,
    loss_drop_reward,
    transport_reward,
)
from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.settings_checks import check_settings_fit
from equal_hf.errors import ConfigError, ExtractionError, ResumeError
from equal_hf.publishing.dataset import export_dataset
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.report.write_report import write_report
from equal_hf.selection.bandits import Uniform
from equal_hf.selection.experimental.influence import influence_reward
from equal_hf.selection.experimental.loss_attribution import loss_attribution_reward
from equal_hf.target import evaluation_sets
from equal_hf.training.reward_needs import refuse_sharded
from equal_hf.training.sharding import sharding
from tests.processes import run
from tests.servers import spawn
from tests.tracking.trackio_file import trackio_rows
from tests.tracking.wandb_file import wandb_rows
from tests.world import make_target


def make(
    world,
    folder,
    *,
    extractor=None,
    rewards=(transport_reward, loss_drop_reward),
    evaluate=True,
    targets=None,
    peft_config=None,
    **settings,
):
    settings = {
        "closed_loop": True,
        "num_rounds": 2,
        "arms_per_round": 2,
        "documents_per_arm": 4,
        "rows_per_round": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 2e-3,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "max_length": 128,
        "disable_tqdm": True,
    } | settings
    targets = targets or {"target": make_target()}
    config = EqualConfig(output_dir=str(folder), **settings)
    collector = EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"),
        extractor or ExplicitExtractor(),
        reward_funcs=list(rewards),
        args=config,
        reference={name: target.reference for name, target in targets.items()},
        protected=[item for target in targets.values() for item in (*target.validation, *target.test)],
    )
    return EqualTrainer(
        str(world / "model"),
        config,
        data_collector=collector,
        eval_dataset=evaluation_sets(targets, "validation") if evaluate else None,
        processing_class=AutoTokenizer.from_pretrained(world / "model"),
        peft_config=peft_config,
    )


class Watched(ExplicitExtractor):
    """Counts documents that it is asked for."""

    asked = 0

    def extract(self, documents, allowance=None):
        type(self).asked += len(documents)
        return super().extract(documents, allowance)


def test_a_round_is_an_epoch_of_exactly_its_rows_and_pays_by_the_loss(world, tmp_path):
    trainer = make(world, tmp_path, num_rounds=3)
    trainer.train()
    assert (trainer.rounds_trained, trainer.steps_trained) == (3, 9)
    records = RoundRecords(tmp_path)
    losses = [records.reward_record(index)["metrics"] for index in range(3)]
    assert all(record["eval_loss"] < record["previous_eval_loss"] for record in losses)
    assert [r["previous_eval_loss"] for r in losses[1:]] == [r["eval_loss"] for r in losses[:-1]]
    assert all(sum(record["trained_rows"]) == 12 for record in losses)
    drop = records.reward_record(0)["rewards"]["loss_drop"][0]
    assert drop == pytest.approx(1 - losses[0]["eval_loss"] / losses[0]["previous_eval_loss"])


def test_rows_of_earlier_rounds_fill_a_round_up_and_earn_nothing(world, tmp_path):
    trainer = make(world, tmp_path, rows_per_round=40)
    trainer.train()
    records = RoundRecords(tmp_path)
    for index in (0, 1):
        own = len(records.load(index).pairs)
        assert own < 40
        assert sum(records.reward_record(index)["metrics"]["trained_rows"]) == own
    assert trainer.steps_trained == 20


def test_rounds_that_found_nothing_are_passed_over_until_one_finds_something(world, tmp_path):
    class Late(ExplicitExtractor):
        calls = 0

        def extract(self, documents, allowance=None):
            Late.calls += 1
            kinds = ("doctest",) if Late.calls <= 2 else ("question_answer",)
            return ExplicitExtractor(kinds=kinds).extract(documents, allowance)

    trainer = make(world, tmp_path, extractor=Late(), num_rounds=4)
    trainer.train()
    records = RoundRecords(tmp_path)
    assert [len(records.load(index).pairs) > 0 for index in range(4)] == [False, False, True, True]
    assert trainer.rounds_trained == 2
    assert records.reward_record(1)["metrics"]["trained_rows"] == [0, 0]


def test_a_budget_that_gave_no_pair_stops_with_the_reason(world, tmp_path):
    trainer = make(world, tmp_path, extractor=ExplicitExtractor(kinds=("doctest",)))
    with pytest.raises(ExtractionError, match="16 documents gave not a single pair"):
        trainer.train()


@pytest.mark.parametrize("stop", [True, False])
def test_training_ends_with_the_budget_or_goes_on_with_what_there_is(world, tmp_path, stop):
    trainer = make(world, tmp_path, num_rounds=4, max_documents=12, stop_when_finished=stop)
    trainer.train()
    assert trainer.data_collector.history.documents == 12
    assert trainer.rounds_trained == (2 if stop else 4)


def test_a_finished_run_is_not_trained_further(world, tmp_path):
    first = make(world, tmp_path, num_rounds=4, max_documents=12)
    first.train()
    first.data_collector.close()
    again = make(world, tmp_path, extractor=Watched(), num_rounds=4, max_documents=12)
    settings = again.args.to_dict()
    again.train(resume_from_checkpoint=True)
    assert (again.rounds_trained, again.steps_trained, Watched.asked) == (2, 6, 0)
    assert again.args.to_dict() == settings  # of which a control in the same process is made


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows_per_round": 16}, "rounds of 12 rows and `rows_per_round` is 16 now: set it back, or remove"),
        ({"gradient_accumulation_steps": 3}, "batch of 4 rows .* and it is 12 now.*product is 4, or remove"),
        ({"per_device_train_batch_size": 3}, "batch of 4 rows .* and it is 3 now"),
        ({"per_device_train_batch_size": 5}, "batch of 4 rows .* and it is 5 now"),  # 3 steps a round as before
        (
            {"dataloader_drop_last": True, "rows_per_round": 14},
            "4 steps a round .* would be 3: set `dataloader",
        ),
    ],
)
def test_a_checkpoint_of_other_rounds_is_refused(world, tmp_path, changed, words):
    rows = 14 if "dataloader_drop_last" in changed else 12
    first = make(world, tmp_path, rewards=[transport_reward], evaluate=False, rows_per_round=rows)
    first.train()
    first.data_collector.close()
    again = make(world, tmp_path, rewards=[transport_reward], evaluate=False, **changed)
    with pytest.raises(ResumeError, match=words):
        again.train(resume_from_checkpoint=True)
    again.data_collector.close()
    anew = make(world, tmp_path, rewards=[transport_reward], evaluate=False, **changed)
    anew.train()
    assert anew.rounds_trained == 2


def test_the_effective_batch_may_be_made_up_in_another_way(world, tmp_path):
    first = make(world, tmp_path, num_rounds=2)
    first.add_callback(StopAfter(1))
    first.train()
    first.data_collector.close()
    again = make(world, tmp_path, num_rounds=2, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    again.train(resume_from_checkpoint=True)
    assert (again.rounds_trained, again.steps_trained) == (2, 6)
    assert all(sum(RoundRecords(tmp_path).reward_record(index)["metrics"]["trained_rows"]) for index in range(2))


@pytest.mark.parametrize(("save_steps", "batches"), [(2, "group_by_length"), (4, "random")])
def test_a_checkpoint_in_the_middle_of_a_round_is_gone_on_from(world, tmp_path, save_steps, batches):
    # Of 3 steps a round.
    settings = {"save_strategy": "steps", "save_steps": save_steps, "train_sampling_strategy": batches}
    whole = make(world, tmp_path / "whole", **settings)
    whole.train()
    killed = make(world, tmp_path / "run", **settings)
    killed.add_callback(FailAfter(steps=save_steps + 1))
    with pytest.raises(RuntimeError, match="killed"):
        killed.train()
    killed.data_collector.close()
    again = make(world, tmp_path / "run", **settings)
    again.train(resume_from_checkpoint=True)
    assert (again.rounds_trained, again.steps_trained) == (2, 6)
    weights = [(trainer.export_model() / "model.safetensors").read_bytes() for trainer in (whole, again)]
    assert weights[0] == weights[1]
    for index in (0, 1):
        rewards = [RoundRecords(tmp_path / name).reward_record(index) for name in ("whole", "run")]
        assert rewards[0] == rewards[1]


@pytest.mark.parametrize("batches", ["group_by_length", "random"])
def test_rows_of_like_length_are_batched_together(world, tmp_path, batches):
    seen = []

    class Widths(TrainerCallback):
        def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
            seen.append(
                [(batch["attention_mask"].sum(1).tolist(), batch["input_ids"].shape[1]) for batch in train_dataloader]
            )

    trainer = make(world, tmp_path, num_rounds=2, train_sampling_strategy=batches, rows_per_round=24)
    trainer.add_callback(Widths())
    trainer.train()
    for batches_of in seen:
        lengths = sorted(length for of, _ in batches_of for length in of)
        assert len(lengths) == 24
        as_sorted = sum(max(lengths[at : at + 4]) for at in range(0, 24, 4))
        width = sum(width for _, width in batches_of)
        assert (width == as_sorted) == (batches == "group_by_length"), (width, as_sorted)


def test_rows_of_the_pool_are_batched_by_length_too_and_anew_each_epoch(world, tmp_path):
    seen = []

    class Rows(TrainerCallback):
        def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
            if str(args.output_dir).endswith("pool"):
                train_dataloader.set_epoch(round(state.epoch))  # as the trainer does next
                seen.append([(batch["attention_mask"].sum(1).tolist()) for batch in train_dataloader])

    trainer = make(world, tmp_path, num_rounds=1, pool_epochs=3)
    trainer.add_callback(Rows())
    trainer.train()
    assert len(seen) == 3 and any(batches != seen[0] for batches in seen)
    for batches in seen:
        lengths = sorted(length for batch in batches for length in batch)
        rest = len(lengths) % 4
        least = sum(lengths[at + 3] for at in range(rest, len(lengths), 4)) + sum(lengths[max(rest - 1, 0) : rest])
        assert len(lengths) >= 12 and sum(max(batch) for batch in batches) == least


def test_a_checkpoint_of_another_trainer_is_named(world, tmp_path):
    first = make(world, tmp_path, num_rounds=1)
    first.train()
    first.data_collector.close()
    path = tmp_path / "checkpoint-3/trainer_state.json"
    path.write_text(path.read_text().replace("EqualTrainer", "SFTTrainer"))
    with pytest.raises(ResumeError, match="checkpoint-3 does not say which rounds"):
        make(world, tmp_path, num_rounds=1).train(resume_from_checkpoint=True)


class StopAfter(TrainerCallback):
    """Stops a training as an early stop does: after some epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.epoch >= self.epochs


def test_training_again_from_scratch_pays_for_nothing(world, tmp_path):
    first = make(world, tmp_path)
    first.train()
    first.data_collector.close()
    Watched.asked = 0
    again = make(world, tmp_path, extractor=Watched())
    again.train()
    assert (again.steps_trained, Watched.asked) == (6, 0)


def test_the_pool_is_trained_on_after_the_rounds(world, tmp_path):
    trainer = make(world, tmp_path, pool_epochs=2)
    trainer.train()
    pairs = trainer.data_collector.history.pairs
    assert trainer.steps_trained == 6
    assert trainer.pool_steps_trained == 2 * -(-pairs // 4)
    assert json.loads((tmp_path / "run.json").read_text())["fingerprint"]["num_rounds"] == 2


def test_with_a_lag_rounds_are_collected_ahead_from_the_rewards_it_allows(world, tmp_path):
    trainer = make(world, tmp_path, num_rounds=4, feedback_lag=1)
    trainer.train()
    records = RoundRecords(tmp_path)
    assert [records.load(index).rewards_through for index in range(4)] == [-1, -1, 0, 1]
    assert trainer.rounds_trained == 4


def test_extraction_goes_on_during_training_where_it_goes_over_http(world, tmp_path):
    endpoint = EndpointExtractor("http://127.0.0.1:9", store=tmp_path / "responses.sqlite")
    trained = make(world, tmp_path / "trained", extractor=endpoint).data_collector
    assert trained.feedback_lag == 1
    alone = EqualDataCollector(trained.corpus, endpoint, args=trained.args, reference=trained.reference)
    assert alone.feedback_lag == 0
    assert make(world, tmp_path / "explicit").data_collector.feedback_lag == 0
    assert make(world, tmp_path / "set", extractor=endpoint, feedback_lag=0).data_collector.feedback_lag == 0


def test_a_run_goes_on_with_the_lag_it_began_with(world, tmp_path):
    first = make(world, tmp_path, num_rounds=3, feedback_lag=1)
    first.add_callback(StopAfter(1))
    first.train()
    first.data_collector.close()
    other = make(world, tmp_path, num_rounds=3, feedback_lag=0)
    with pytest.raises(ResumeError, match="feedback_lag: 1 → 0"):
        other.open_run()
    other.data_collector.close()
    again = make(world, tmp_path, num_rounds=3)
    again.train(resume_from_checkpoint=True)
    assert [RoundRecords(tmp_path).load(index).rewards_through for index in range(3)] == [-1, -1, 0]
    RunFile(tmp_path / "earlier").open({"feedback_lag": 0}, {})
    endpoint = EndpointExtractor("http://127.0.0.1:9", store=tmp_path / "responses.sqlite")
    assert make(world, tmp_path / "earlier", extractor=endpoint).data_collector.feedback_lag == 0


def test_with_a_lag_influence_and_forecast_are_the_same_after_a_kill(world, tmp_path):
    """What is learned of a round while the next is extracted must not hang on which comes first."""
    settings = {"num_rounds": 8, "feedback_lag": 1, "pair_values": ["likeness", "influence"], "stop_when": 0.6}
    whole = make(world, tmp_path / "whole", **settings)
    whole.train()
    killed = make(world, tmp_path / "run", **settings)
    killed.add_callback(FailAfter(steps=7))
    with pytest.raises(RuntimeError, match="killed"):
        killed.train()
    killed.data_collector.close()
    again = make(world, tmp_path / "run", **settings)
    again.train(resume_from_checkpoint=True)
    one, other = RoundRecords(tmp_path / "whole"), RoundRecords(tmp_path / "run")
    assert 4 <= len(one.indices()) < 8 and one.indices() == other.indices() and one.load(one.indices()[-1]).last
    assert again.rounds_trained == whole.rounds_trained == len(one.indices())
    for index in one.indices():
        assert one.load(index) == other.load(index)
        assert one.reward_record(index) == other.reward_record(index)
        assert one.load(index).rewards_through == max(-1, index - 2)
        assert any(one.reward_record(index)["pair_values"]["influence"])


def test_arms_may_be_paid_by_their_influence_and_their_share_of_the_loss(world, tmp_path):
    trainer = make(world, tmp_path, rewards=[influence_reward, loss_attribution_reward], num_rounds=3)
    trainer.train()
    for index in range(3):
        rewards = RoundRecords(tmp_path).reward_record(index)["rewards"]
        trained = RoundRecords(tmp_path).reward_record(index)["metrics"]["trained_rows"]
        for influence, attributed, rows in zip(
            rewards["influence"], rewards["loss_attribution"], trained, strict=True
        ):
            assert influence is not None and -1 <= influence <= 1
            assert (attributed is not None) == (rows > 0)


def test_pairs_may_be_valued_by_their_influence(world, tmp_path):
    """What training on them did is known once a round was trained on, recorded with its rewards, and learned from."""
    trainer = make(world, tmp_path, pair_values=["influence"])
    trainer.train()
    records = RoundRecords(tmp_path)
    for index in range(2):
        (name, values), round = *records.reward_record(index)["pair_values"].items(), records.load(index)
        known = [value for value in values if value is not None]
        assert (name, len(values)) == ("influence", len(round.pairs)) and 8 <= len(known) <= 64
        assert all(0 <= value <= 1 for value in known) and len(set(known)) > 2
        assert records.pair_table(index)["value_influence"].to_pylist() == values
    live = trainer.data_collector.selector.pair_values
    assert live.learned(2).weights[live.names.index("influence")] == 1.0
    trainer.data_collector.close()
    again = make(world, tmp_path, pair_values=["influence"]).data_collector
    again.open()
    np.testing.assert_array_equal(again.selector.pair_values.learned(2).means, live.learned(2).means)


def test_influence_of_pairs_needs_a_trainer_and_an_evaluation_set(world, tmp_path):
    with pytest.raises(ConfigError, match=r"`pair_values` names influence, .* no `eval_dataset`"):
        make(world, tmp_path, pair_values=["influence"], rewards=[transport_reward], evaluate=False)
    collector = make(world, tmp_path, pair_values=["influence"]).data_collector
    with pytest.raises(ConfigError, match="influence, which only a trainer tells"):
        next(iter(collector.rounds()))


def test_without_an_evaluation_set_rewards_are_recorded_at_a_rounds_end(world, tmp_path):
    trainer = make(world, tmp_path, rewards=[transport_reward], evaluate=False)
    trainer.train()
    assert RoundRecords(tmp_path).reward_record(1)["metrics"]["eval_loss"] is None


def test_several_evaluation_sets_pay_by_the_one_that_is_named(world, tmp_path):
    trainer = make(world, tmp_path, reward_metric="eval_near_loss", num_rounds=1)
    target = make_target()
    trainer.eval_dataset = {"far": trainer.eval_dataset, "near": trainer.eval_dataset.select(range(5))}
    assert len(target.validation) == 20
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_near_loss" in entry]
    assert RoundRecords(tmp_path).reward_record(0)["metrics"]["eval_loss"] == logged[-1]["eval_near_loss"]


def test_several_targets_pay_by_the_weighted_mean_of_their_losses(world, tmp_path):
    targets = {"near": make_target(1), "far": make_target(2)}
    rewards = [transport_reward, loss_drop_reward, influence_reward]
    trainer = make(world, tmp_path, rewards=rewards, targets=targets, target_weights=[3.0, 1.0])
    trainer.train()
    log = trainer.state.log_history
    near, far, mean = (
        [entry[key] for entry in log if key in entry] for key in ("eval_near_loss", "eval_far_loss", "eval_loss")
    )
    assert len(mean) == 3  # before the first round, and after each
    assert mean == pytest.approx([0.75 * a + 0.25 * b for a, b in zip(near, far, strict=True)])
    for index in range(2):
        record = RoundRecords(tmp_path).reward_record(index)
        assert record["metrics"]["target_losses"] == {"near": near[index + 1], "far": far[index + 1]}
        assert record["metrics"]["eval_loss"] == mean[index + 1]
        assert record["metrics"]["previous_eval_loss"] == mean[index]
        assert record["rewards"].keys() == {"transport_near", "transport_far", "loss_drop", "influence"}
        assert all(value is not None for value in record["rewards"]["influence"])
    tests = trainer.evaluate(evaluation_sets(targets, "test"), metric_key_prefix="test")
    assert tests["test_loss"] == pytest.approx(0.75 * tests["test_near_loss"] + 0.25 * tests["test_far_loss"])


def test_a_target_without_a_validation_part_has_no_say_in_the_loss(world, tmp_path):
    targets = {"near": make_target(1), "far": replace(make_target(2), validation=())}
    trainer = make(world, tmp_path, targets=targets, num_rounds=1)
    trainer.train()
    metrics = RoundRecords(tmp_path).reward_record(0)["metrics"]
    assert metrics["target_losses"] == {"near": metrics["eval_loss"]}


def test_a_reward_metric_that_never_comes_is_named(world, tmp_path):
    trainer = make(world, tmp_path, reward_metric="eval_gsm8k_loss")
    with pytest.raises(ConfigError, match="`reward_metric` 'eval_gsm8k_loss'"):
        trainer.train()


def test_answers_beyond_max_length_are_replaced_and_counted(world, tmp_path, caplog):
    trainer = make(world, tmp_path, max_length=39, num_rounds=2)
    trainer.train()
    assert trainer.steps_trained == 6
    logged = [entry for entry in trainer.state.log_history if "equal/rows_cut" in entry]
    assert sum(entry["equal/rows_lost"] for entry in logged) == trainer.rows_lost > 0
    assert sum(entry["equal/rows_cut"] for entry in logged) == trainer.rows_cut
    assert caplog.text.count("lose their whole answer") == 1


def test_answers_cut_short_are_counted(world, tmp_path, caplog):
    whole = make(world, tmp_path / "whole", num_rounds=1)
    whole.train()
    assert (whole.rows_cut, whole.rows_lost) == (0, 0) and "max_length" not in caplog.text
    lengths = [len(row["input_ids"]) for row in whole._round_dataset.rows]
    limit = max(lengths) - 1
    trainer = make(world, tmp_path / "cut", num_rounds=1, max_length=limit)
    trainer.train()
    assert trainer.rows_cut == sum(length > limit for length in lengths) > 0
    assert f"`max_length` {limit} cuts off the end of {trainer.rows_cut} rows of round 0" in caplog.text
    assert max(len(row["input_ids"]) for row in trainer._round_dataset.rows) == limit


@pytest.mark.parametrize("evaluate", [True, False])
def test_a_training_that_diverges_is_told_and_goes_on(world, tmp_path, caplog, evaluate):
    rewards = [transport_reward, loss_drop_reward] if evaluate else [transport_reward]
    settings = {"learning_rate": 1e8, "max_grad_norm": 0.0, "logging_steps": 1}
    first = make(world, tmp_path, rewards=rewards, evaluate=evaluate, **settings)
    first.train()
    first.export_model()
    first.data_collector.close()
    assert caplog.text.count("Training has diverged: `") == 1 and "learning_rate" in caplog.text
    record = json.loads((tmp_path / "rounds/round-00001/rewards.json").read_text(), parse_constant=pytest.fail)
    assert record["metrics"]["eval_loss"] is None and all(value is not None for value in record["mixed"])
    again = make(world, tmp_path, rewards=rewards, evaluate=evaluate, **settings)
    again.train(resume_from_checkpoint=True)
    assert (again.rounds_trained, again.steps_trained) == (2, 6)
    again.data_collector.close()
    assert export_dataset(tmp_path).is_dir() and write_report(tmp_path, pictures=False).is_file()


def token_accuracy(predictions):
    logits, labels = predictions
    wanted = labels[:, 1:] != -100
    return {"accuracy": float((logits[:, :-1].argmax(-1) == labels[:, 1:])[wanted].mean())}


@pytest.mark.filterwarnings("ignore:`return_outputs=True`:FutureWarning")  # TRL, of every `compute_metrics`
def test_a_metric_that_should_rise_pays_for_rising(world, tmp_path):
    with pytest.raises(ConfigError, match="set `reward_metric_rises` to true"):
        make(world, tmp_path, reward_metric="eval_accuracy")
    trainer = make(world, tmp_path, reward_metric="eval_accuracy", reward_metric_rises=True)
    trainer.compute_metrics = token_accuracy
    trainer.train()
    before, *after = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    record = RoundRecords(tmp_path).reward_record(0)
    assert after[0] > before
    assert record["metrics"]["eval_loss"] == -after[0] and record["metrics"]["previous_eval_loss"] == -before
    assert record["rewards"]["loss_drop"][0] == pytest.approx((after[0] - before) / before)


def test_the_pool_has_a_curve_of_its_own_in_trackers(world, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    code = (
        "import sys; from tests.training.test_trainer import make; from pathlib import Path; "
        "make(Path(sys.argv[1]), sys.argv[2], num_rounds=2, pool_epochs=1, logging_steps=1, "
        "report_to=['wandb', 'trackio']).train()"
    )
    run(["-c", code, str(world), str(tmp_path / "run")], tmp_path / "log", TRACKIO_DIR=str(tmp_path / "trackio"))
    for rows in (wandb_rows(tmp_path / "run"), [row for _, row in trackio_rows(tmp_path / "trackio")]):
        steps = [row["train/global_step"] for row in rows if "train/loss" in row]
        assert steps == [1, 2, 3, 4, 5, 6]
        pool = [row["pool/global_step"] for row in rows if "pool/loss" in row]
        assert pool == list(range(1, len(pool) + 1)) and len(pool) >= 3
        assert not any("train/loss" in row and "pool/loss" in row for row in rows)
        assert [row["equal/round"] for row in rows if "equal/round" in row] == [0, 1]


def test_a_pool_that_is_killed_before_its_first_checkpoint_ends_the_same(world, tmp_path):
    from peft import LoraConfig

    def lora(folder):
        settings = LoraConfig(r=4, lora_dropout=0.5, target_modules="all-linear", task_type="CAUSAL_LM")
        return make(world, folder, num_rounds=1, pool_epochs=1, peft_config=settings)

    whole = lora(tmp_path / "whole")
    whole.train()
    killed = lora(tmp_path / "killed")
    killed.add_callback(FailAfter(steps=2, folder="pool"))
    with pytest.raises(RuntimeError, match="killed"):
        killed.train()
    killed.data_collector.close()
    again = lora(tmp_path / "killed")
    again.train(resume_from_checkpoint=True)
    digests = [
        hashlib.sha256((trainer.export_model() / "adapter_model.safetensors").read_bytes()).hexdigest()
        for trainer in (whole, again)
    ]
    assert digests[0] == digests[1]


class FailAfter(TrainerCallback):
    """Fails a training after some steps, as a process that is killed would."""

    def __init__(self, steps, folder="", error=RuntimeError):
        self.steps, self.folder, self.error = steps, folder, error

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= self.steps and str(args.output_dir).endswith(self.folder):
            raise self.error("killed")


class Slow(ExplicitExtractor):
    """Takes its time from the second call on, unless it is interrupted."""

    def __init__(self):
        super().__init__()
        self.calls, self.interrupted = 0, threading.Event()

    def extract(self, documents, allowance=None):
        self.calls += 1
        if self.calls > 1:
            self.interrupted.wait(60)
        return super().extract(documents, allowance)

    def interrupt(self):
        self.interrupted.set()


@pytest.mark.parametrize(
    ("callback", "error"),
    [
        (StopAfter(1), None),
        (FailAfter(2), RuntimeError),
        (FailAfter(2, error=KeyboardInterrupt), KeyboardInterrupt),
    ],
)
def test_a_round_collected_ahead_is_given_up_with_the_training(world, tmp_path, callback, error):
    trainer = make(world, tmp_path, extractor=Slow(), num_rounds=4, feedback_lag=1)
    trainer.add_callback(callback)
    began = time.monotonic()
    with pytest.raises(error) if error else contextlib.nullcontext():
        trainer.train()
    assert time.monotonic() - began < 30
    assert RoundRecords(tmp_path).indices() == [0]
    if error is None:
        trainer.remove_callback(callback)
        trainer.data_collector.extractor.calls = -99
        trainer.train(resume_from_checkpoint=True)
        assert RoundRecords(tmp_path).indices() == [0, 1, 2, 3]
    trainer.data_collector.close()
    again = make(world, tmp_path, num_rounds=4, feedback_lag=1)
    again.train(resume_from_checkpoint=True)
    assert RoundRecords(tmp_path).indices() == [0, 1, 2, 3]


def test_an_endpoint_is_asked_for_nothing_more_when_training_stops_early(world, tmp_path):
    with spawn("tests.servers.load", "--latency-s", "1", "--slots", "4") as url:
        extractor = EndpointExtractor(url, concurrency=4, store=tmp_path / "responses.sqlite")
        sizes = {"num_rounds": 4, "arms_per_round": 2, "documents_per_arm": 12}
        trainer = make(world, tmp_path, extractor=extractor, feedback_lag=1, filters=[], **sizes)
        trainer.add_callback(StopAfter(1))
        trainer.train()
        asked = stats(url)["answered"]
        time.sleep(2)
        assert stats(url)["answered"] <= asked + 4, "nothing but what was under way"
        assert 24 <= asked <= 24 + 16, "the next round was given up"
        assert RoundRecords(tmp_path).indices() == [0]
        trainer.data_collector.close()
        # What was paid for it is not paid for again.
        extractor = EndpointExtractor(url, concurrency=4, store=tmp_path / "responses.sqlite")
        again = make(world, tmp_path, extractor=extractor, feedback_lag=1, filters=[], **sizes)
        again.data_collector.record_rewards(RoundRecords(tmp_path).load(0))
        again.data_collector.collect(1)
        assert stats(url)["answered"] <= 2 * 24 + 4, "each document once, and two probes"


def stats(url):
    return json.loads(urllib.request.urlopen(f"{url}/stats", timeout=10).read())


def test_a_round_whose_extractor_cannot_be_interrupted_is_not_waited_for(world, tmp_path, monkeypatch, caplog):
    class Stubborn(Slow):
        interrupt = None

    monkeypatch.setattr("equal_hf.training.round_feed.MAX_WAIT_S", 0.1)
    extractor = Stubborn()
    trainer = make(world, tmp_path, extractor=extractor, num_rounds=4, feedback_lag=1)
    trainer.add_callback(StopAfter(1))
    trainer.train()
    assert "Round 1 is still being extracted and will not be recorded" in caplog.text
    extractor.interrupted.set()
    time.sleep(0.5)
    assert RoundRecords(tmp_path).indices() == [0]


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, {}),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {}),
        ({}, {"fsdp": "full_shard"}),
        ({}, {"deepspeed": {"zero_optimization": {"stage": 3}}}),
    ],
)
def test_rewards_that_look_at_the_model_are_refused_where_it_is_sharded(monkeypatch, environment, settings):
    def looking_reward(round, *, model, **context):
        return []

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for function in (influence_reward, looking_reward):
        with pytest.raises(ConfigError, match=r"the whole model, which is sharded by (FSDP|DeepSpeed ZeRO-3)"):
            refuse_sharded([loss_drop_reward, function], SimpleNamespace(**settings))
    with pytest.raises(ConfigError, match="leave it out of `pair_values`"):
        refuse_sharded([loss_drop_reward], SimpleNamespace(**settings), pairs=True)
    refuse_sharded([loss_drop_reward], SimpleNamespace(**settings))


def test_a_run_does_not_start_with_a_reward_that_sharding_forbids(monkeypatch):
    run = RunArguments(
        corpus="documents", target="questions", extractor="explicit", reward_funcs=["value", "influence"]
    )
    args = EqualConfig(num_rounds=1, use_cpu=True, closed_loop=True)
    assert not list(check_settings_fit(run, args))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    (check,) = check_settings_fit(run, args)
    assert check.fails and "'influence' looks at the whole model, which is sharded by FSDP" in check.found


def test_sharding_that_leaves_the_model_whole_is_none(monkeypatch):
    assert sharding(SimpleNamespace(fsdp="", deepspeed={"zero_optimization": {"stage": 2}})) is None
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    assert sharding(SimpleNamespace()) is None


def test_settings_that_cannot_work_are_refused(world, tmp_path):
    with pytest.raises(ConfigError, match="no `eval_dataset`"):
        make(world, tmp_path, evaluate=False)
    with pytest.raises(ConfigError, match="`eval_strategy` is 'no'"):
        make(world, tmp_path, eval_strategy="no")
    with pytest.raises(ConfigError, match=r"`hub_strategy` is 'every_save'.*'end'"):
        make(world, tmp_path, push_to_hub=True, hub_strategy="every_save")
    with pytest.raises(ConfigError, match="`train_dataset` cannot be used"):
        EqualTrainer("m", EqualConfig(num_rounds=1, use_cpu=True), data_collector=None, train_dataset=[1])


def test_lora_trains_an_adapter_and_exports_it(world, tmp_path):
    from peft import LoraConfig

    target = make_target()
    config = EqualConfig(
        output_dir=str(tmp_path),
        num_rounds=1,
        arms_per_round=2,
        documents_per_arm=4,
        pool_epochs=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
    )
    collector = EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"), ExplicitExtractor(), args=config, reference=target.reference
    )
    trainer = EqualTrainer(
        str(world / "model"),
        config,
        data_collector=collector,
        processing_class=AutoTokenizer.from_pretrained(world / "model"),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    trainer.train()
    folder = trainer.export_model()
    assert (folder / "adapter_model.safetensors").exists()
    card = (folder / "README.md").read_text()
    assert "equal" in card and "2505.12250" in card
    assert "fine-tuned version of" not in card and "licence: license" not in card and str(world) not in card
    # The card's example runs, with the folders in the places of the names.
    (example,) = re.findall(r"```python\n(from peft .*?)```", card, re.DOTALL)
    example = example.replace("path/to/this/folder", str(folder)).replace("path/to/model", str(world / "model"))
    loaded: dict = {}
    exec(example.replace("max_new_tokens=128", "max_new_tokens=2"), loaded)
    assert "merge_and_unload" in example and type(loaded["model"]).__name__ == "LlamaForCausalLM"
    assert not (folder / "training_args.bin").exists()


def test_the_model_card_of_the_control_does_not_say_that_equal_trained_it(world, tmp_path):
    config = EqualConfig(
        output_dir=str(tmp_path / "control"),
        num_rounds=1,
        arms_per_round=2,
        documents_per_arm=4,
        pool_epochs=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
    )
    collector = EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"),
        ExplicitExtractor(),
        args=config,
        bandit=Uniform(),
        reference=make_target().reference,
    )
    trainer = EqualTrainer(
        str(world / "model"),
        config,
        data_collector=collector,
        processing_class=AutoTokenizer.from_pretrained(world / "model"),
    )
    trainer.train()
    folder = trainer.export_model()
    with trainer._model_folder():
        trainer.create_model_card(model_name="control", dataset_name="../dataset")
    card = (folder / "README.md").read_text()
    assert "trained with SFT." in card and "drawn uniformly at random, the control" in card
    assert "EQUAL, a method" not in card and "selected" not in card and "Not All Documents" not in card
    assert "\n- equal\n" not in card


# huggingface_hub 2.4 uploads LFS files in a way that its own HTTP client calls outdated.
@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")
def test_an_adapter_is_pushed_through_trouble_with_its_dataset_on_the_card(world, tmp_path, hub):
    from huggingface_hub import HfApi, ModelCard
    from peft import LoraConfig

    trainer = make(
        world,
        tmp_path,
        num_rounds=1,
        peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
        push_to_hub=True,
        hub_model_id="tester/adapter",
    )
    trainer.train()
    hub.fail(500, "POST", "tester/adapter/commit", count=2)
    trainer.push_to_hub(dataset_name="tester/qa")
    files = HfApi().list_repo_files("tester/adapter")
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".sqlite", ".parquet"))], "the model alone"
    card = ModelCard.load("tester/adapter")
    card.validate(repo_type="model")
    assert card.data.datasets == ["tester/qa"] and {"trl", "equal", "equal-hf"} <= set(card.data.tags)
    assert "[tester/qa](https://huggingface.co/datasets/tester/qa)" in card.text and "TRL" in card.text
    assert "2505.12250" in card.text
