"""What is measured of a model, and what settings of it do to a run that was begun before they were there."""

import pandas as pd
import pytest
import torch
import yaml

from equal_hf.cli.drive import Job
from equal_hf.cli.parse_config import parse_run
from equal_hf.cli.target_checks import check_targets
from equal_hf.cli.train import make_trainer
from equal_hf.corpus.run_corpus import open_corpus
from equal_hf.errors import ResumeError
from equal_hf.records.json_files import read_json
from equal_hf.target import load_targets
from equal_hf.training.exact_match import math_verifier
from equal_hf.training.measures import weights_digest
from tests.world import make_target


@pytest.fixture
def parsed(world, tmp_path):
    """Settings of a run whose target is annotated as GSM8K is."""
    parts = {part: getattr(make_target(), part) for part in ("reference", "validation", "test")}
    rows = [
        {"question": item.question, "answer": f"{item.answer} <<1+1=2>>2", "final": item.final, "split": part}
        for part, items in parts.items()
        for item in items
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "target.parquet")

    def parse(**changes):
        settings = {
            "model_name_or_path": str(world / "model"),
            "corpus": str(world / "corpus"),
            "embedder": str(world / "embedder"),
            "target": str(tmp_path / "target.parquet"),
            "target_split_column": "split",
            "extractor": "explicit",
            "closed_loop": True,
            "reward_funcs": ["transport", "loss_drop"],
            "num_rounds": 1,
            "n_reference": 20,
            "max_length": 128,
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "output_dir": str(tmp_path / "run"),
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings | changes))
        return parse_run(tmp_path / "run.yaml", [])

    return parse


def test_a_run_begun_with_annotated_answers_goes_on_with_them_or_is_refused(parsed, tmp_path):
    def opened(**changes):
        run, args, model = parsed(**changes)
        trainer = make_trainer(Job(run, args, model, open_corpus(run, args.output_dir, 0), load_targets(run, 42)))
        try:
            trainer.open_run()
        finally:
            trainer.data_collector.close()
        return trainer

    kept = opened(target_annotations="keep")
    # What an earlier version wrote, which had no such setting.
    assert "target_annotations" not in read_json(tmp_path / "run/run.json")["fingerprint"]
    with pytest.raises(ResumeError, match='target_annotations: null → "strip"'):
        opened()
    assert len(opened(target_annotations="keep").eval_dataset[0]["input_ids"]) == len(
        kept.eval_dataset[0]["input_ids"]
    )
    fresh = opened(output_dir=str(tmp_path / "fresh"))
    assert len(fresh.eval_dataset[0]["input_ids"]) < len(kept.eval_dataset[0]["input_ids"])
    # Where no loss decides what is drawn, it changes no record.
    opened(output_dir=str(tmp_path / "free"), reward_funcs=["transport"])
    assert "target_annotations" not in read_json(tmp_path / "free/run.json")["fingerprint"]


def test_what_results_need_is_said_before_the_run(parsed, tmp_path, monkeypatch):
    rows = pd.read_parquet(tmp_path / "target.parquet")
    rows.loc[rows.split == "test", "final"] = r"\frac{1}{2}"
    rows.to_parquet(tmp_path / "target.parquet")

    def problems(**changes):
        run, args, model = parsed(**changes)
        return [(one.status, one.found) for one in check_targets(run, args, model, None) if one.status != "ok"]

    if math_verifier.can_verify():
        assert problems() == []
    assert "which `few_shot` reads" in problems(exact_match_forms=["few_shot"])[-1][1]
    monkeypatch.setattr(math_verifier, "can_verify", lambda: False)
    ((kind, found),) = problems()
    assert kind == "problem" and "20 results in LaTeX" in found and "pip install 'equal-hf[math]'" in found
    assert problems(exact_match_items=0) == problems(exact_match_forms=[]) == []


def test_weights_are_told_apart():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    before = weights_digest(model)
    assert weights_digest(model) == before
    with torch.no_grad():
        model[1].weight[0, 1] += 1e-3
    assert weights_digest(model) != before
