"""The model card names its dataset, and keeps the rest."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from equal_hf.publishing.model_card import link_model_card

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
