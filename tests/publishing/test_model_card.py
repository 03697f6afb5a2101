"""The model card names its dataset, and keeps the rest."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from equal_hf.publishing.model_card import is_ours, link_model_card, merge_model_cards
from equal_hf.publishing.model_results import eval_results
from equal_hf.utils.markdown import replace_generated

OF_TRL = """---
library_name: transformers
licence: license
tags: [trl]
---

# Model Card for mine

This model is a fine-tuned version of [None](https://huggingface.co/None).
It has been trained using [TRL](https://github.com/huggingface/trl).

## Quick start

An example.

## Training procedure

By TRL.
"""
TRL_CARD = """---
library_name: peft
base_model: mistralai/Mistral-7B-v0.3
tags:
- trl
- sft
datasets: someone/else
---

# Model Card

Trained with SFT.
"""


def test_the_dataset_is_added_and_the_rest_stays(tmp_path: Path):
    (tmp_path / "README.md").write_text(TRL_CARD)
    path = link_model_card(tmp_path, "tester/qa", rounds=3)
    once = path.read_text()
    card = ModelCard(once)
    assert card.data.datasets == ["someone/else", "tester/qa"]
    assert card.data.tags == ["trl", "sft", "equal-hf"]
    assert card.data.base_model == "mistralai/Mistral-7B-v0.3"
    assert "Trained with SFT." in once and "in 3 rounds on [tester/qa]" in once
    assert link_model_card(tmp_path, "tester/qa", rounds=3).read_text() == once


def test_a_folder_is_named_without_where_it_lies(tmp_path: Path):
    card = link_model_card(tmp_path, tmp_path / "hub" / "dataset").read_text()
    assert "the dataset in `dataset`" in card and str(tmp_path) not in card
    assert ModelCard(card).data.to_dict() == {"tags": ["equal-hf"]}
    assert "`license`" in card, "no licence was chosen, and none is made up"


def test_the_card_of_the_control_does_not_say_that_equal_selected(tmp_path: Path):
    card = link_model_card(tmp_path, "../dataset", policy="uniform").read_text()
    assert "from documents drawn uniformly at random, the control" in card and "selected" not in card
    assert "documents it selected" in link_model_card(tmp_path, "../dataset", policy="ucb").read_text()


def test_a_card_on_the_hub_stays_and_its_section_is_renewed():
    ours = "---\nbase_model: a/b\ntags:\n- equal-hf\n---\nTRL's.\n\n" + replace_generated("", "Trained on v2.").strip()
    assert merge_model_cards(ours, "") == ours
    mine = merge_model_cards(ours, "---\nlicense: mit\ntags: x\n---\nMine.\n")
    card = ModelCard(mine)
    assert card.data.license == "mit" and card.data.base_model == "a/b" and card.data.tags == ["x", "equal-hf"]
    assert "Mine." in mine and "Trained on v2." in mine and "TRL's." not in mine
    again = merge_model_cards(ours.replace("v2", "v3"), mine)
    assert "Mine." in again and "Trained on v3." in again and "v2" not in again
    assert is_ours(again) and not is_ours("---\ntags: [sft]\n---\n")


def test_the_card_says_what_the_model_was_made_from_how_good_it_is_and_how_to_load_it(tmp_path: Path):
    base, model = tmp_path / "base", tmp_path / "model"
    base.mkdir()
    model.mkdir()
    (base / "config.json").write_text('{"_name_or_path": "org/small"}')
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (model / "README.md").write_text(OF_TRL)
    (model / "adapter_config.json").write_text("{}")
    run = {"config": {"model": str(base), "target": ["openai/gsm8k"], "target_test_split": ["test"]}}
    summary = {
        "untouched": {"test_loss": 3.5, "exact_match": 0.125, "exact_match_stderr": 0.01},
        "equal": {"test_loss": 2.5, "exact_match": 0.25, "exact_match_stderr": 0.0119, "documents": 5},
        "uniform": {"test_loss": 2.75, "exact_match": 0.2, "exact_match_stderr": 0.011},
        "seed": 1,
    }
    link_model_card(model, "tester/qa", run=run, summary=summary, repo_id="me/model")
    card = (model / "README.md").read_text()
    data = ModelCard(card).data.to_dict()
    assert (data["library_name"], data["pipeline_tag"]) == ("peft", "text-generation")
    assert "licence" not in data and data["base_model"] == "org/small" and data["datasets"] == ["tester/qa"]
    assert "None" not in card and "An example." not in card and "By TRL." in card and str(tmp_path) not in card
    for line in (
        "the local model `base`, which says it was made from [org/small](https://huggingface.co/org/small)",
        "| `test_loss` | 3.5 | 2.5 | 2.75 |",
        "| `exact_match` | 0.125 ± 0.01 | 0.25 ± 0.0119 | 0.2 ± 0.011 |",
        'base = AutoModelForCausalLM.from_pretrained("path/to/base")',
        'PeftModel.from_pretrained(base, "me/model")',
        "model = model.merge_and_unload()  # may be left out",
        "; ± is the standard error",
        "- `test_loss`: mean loss",
        "the terms of its base model, `apache-2.0` by its card,",
        "The target was `openai/gsm8k`.",
    ):
        assert line in card, line
    assert card.index("# Model Card for mine") < card.index("Fine-tuned from") < card.index("## Training procedure")
    assert merge_model_cards(card, OF_TRL.replace("By TRL.", "Mine.")).count("Mine.") == 1
    assert "None" not in merge_model_cards(card, OF_TRL)
    link_model_card(model, "tester/qa", run={"config": {"model": "org/other"}}, summary={"equal": {"test_loss": 2.0}})
    card = (model / "README.md").read_text()
    assert 'AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder")' in card and "±" not in card
    (model / "adapter_config.json").unlink()
    card = link_model_card(model, "tester/qa", run={"config": {"model": "/gone/small"}}).read_text()
    assert "the local model `small`" in card and "gone" not in card
    (model / "config.json").write_text("{}")
    link_model_card(model, "tester/qa", run={"config": {"model": "org/other"}})
    card = (model / "README.md").read_text()
    assert 'pipeline("text-generation"' in card and "merge_and_unload" not in card
    assert "Fine-tuned from [org/other](https://huggingface.co/org/other)" in card and "## Results" not in card


def test_results_of_a_registered_benchmark_are_in_the_hubs_form():
    whole = {"target": ["openai/gsm8k"], "target_test_split": ["test"], "n_test": None}
    (name,) = files = eval_results(whole, {"exact_match": 0.25})
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[name]))
    assert (name, entry.dataset_id, entry.task_id, entry.value) == (
        ".eval_results/gsm8k.yaml",
        "openai/gsm8k",
        "gsm8k",
        25.0,
    ), "in per cent, as on that leaderboard"
    harness = eval_results(whole | {"exact_match_shots": 8}, {"exact_match": 0.25, "exact_match_flexible": 0.5})
    assert "value: 50.0\n" in harness[name] and "8-shot, flexible-extract" in harness[name]
    for other in (
        whole | {"n_test": 100},
        whole | {"exact_match_items": 9},
        whole | {"target": ["me/task"]},
        whole | {"target_test_split": ["train"]},
    ):
        assert eval_results(other, {"exact_match": 0.25}) == {}
    assert eval_results(whole, {"test_loss": 2.0}) == {}
