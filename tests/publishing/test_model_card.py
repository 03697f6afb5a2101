"""The model card names its dataset, and keeps the rest."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from equal_hf.publishing.model_card import is_ours, link_model_card, merge_model_cards
from equal_hf.utils.markdown import replace_generated

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
