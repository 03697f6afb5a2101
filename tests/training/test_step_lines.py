"""Steps of training and batches of evaluation in a log."""

import logging
from itertools import count
from types import SimpleNamespace

from transformers import TrainerControl, TrainerState, TrainingArguments

from equal_hf.training.step_lines import StepLines
from equal_hf.utils import progress


def test_a_line_every_half_minute_says_how_far_it_is_and_what_is_left(tmp_path, monkeypatch, caplog) -> None:
    seconds = count(0, 10)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    args, control = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True), TrainerControl()
    state = TrainerState(max_steps=100, global_step=20, is_world_process_zero=True)
    lines = StepLines()
    with caplog.at_level(logging.INFO, "equal_hf"):
        lines.on_train_begin(args, state, control)
        for _ in range(4):
            lines.on_step_end(args, state, control)
        for _ in range(2):
            for _ in range(4):
                lines.on_prediction_step(args, state, control, eval_dataloader=range(8))
            lines.on_evaluate(args, state, control)
    assert [line.split(",")[0] for line in caplog.messages] == [
        "training: 22 of 100 steps",
        "evaluation: 3 of 8 batches",
        "evaluation: 3 of 8 batches",
    ]
    assert all(line.endswith(" left") for line in caplog.messages)


def test_other_processes_say_nothing(tmp_path, monkeypatch, caplog) -> None:
    seconds = count(0, 100)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    args, control = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True), TrainerControl()
    state, lines = TrainerState(max_steps=9, is_world_process_zero=False), StepLines()
    with caplog.at_level(logging.INFO, "equal_hf"):
        lines.on_train_begin(args, state, control)
        lines.on_step_end(args, state, control)
        lines.on_prediction_step(args, state, control, eval_dataloader=range(8))
    assert not caplog.messages
