"""Settings that were given and have no effect beside the others are told of, with the remedy."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path

import pytest
from trl import ModelConfig

from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.parse_config import parse_run
from equal_hf.training.config import EqualConfig
from equal_hf.utils.effective import needs_of, without_effect
from tests.servers import ROOT

KINDS = (RunArguments, EqualConfig, ModelConfig)


def told(tmp_path: Path, caplog, text: str, *flags: str) -> list[str]:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("corpus: c\ntarget: t\nmax_documents: 10\nuse_cpu: true\n" + text)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        parse_run(recipe, flags)
    return [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "bandit: paper\nalpha: 0.5",
            "`alpha` has no effect with `bandit: paper`: leave it out, or set `bandit` to ucb or linucb.",
        ),
        (
            "pair_values: [grade]",
            "`pair_values: grade` has no effect with `extractor_grade: false`: leave it out, or set `extractor_grade` "
            "to true.",
        ),
        (
            "extractor: explicit\nextractor_grade: true\nextractor_url: http://localhost",
            "`extractor_grade` and `extractor_url` have no effect with `extractor: explicit`: leave them out, or set "
            "`extractor` to endpoint.",
        ),
        (
            "extractor_judge_min_score: 4",
            "`extractor_judge_min_score` has no effect with `extractor_judge: false`: leave it out, or set "
            "`extractor_judge` to true.",
        ),
        (
            "target_weights: [2.0]",
            "`target_weights` has no effect with `target: [t]`: leave it out, or set `target` to more than one.",
        ),
        (
            "bandit: uniform\ndocument_order: nearest",
            "`document_order` has no effect with `bandit: uniform`: leave it out, or set `bandit` to another than "
            "uniform.",
        ),
        (
            "filters: [duplicate]\nmin_grounding: 0.3",
            "`min_grounding` has no effect with `filters: [duplicate]`: leave it out, or set `filters` to grounding.",
        ),
        ("bandit: linucb\nalpha: 0.5\npair_values: [likeness, grade]\nextractor_grade: true", None),
    ],
)
def test_what_has_no_effect_is_told_of_with_the_remedy(tmp_path, caplog, text: str, said: str | None) -> None:
    assert told(tmp_path, caplog, text) == ([said] if said else [])


def test_flags_count_as_the_file_does(tmp_path, caplog) -> None:
    assert told(tmp_path, caplog, "alpha: 0.5") == []
    (said,) = told(tmp_path, caplog, "alpha: 0.5", "--bandit", "greedy")
    assert said.startswith("`alpha` has no effect with `bandit: greedy`")


def test_a_setting_needs_others_that_exist() -> None:
    names = {one.name for kind in KINDS for one in fields(kind)}
    all_needs = needs_of(KINDS)
    assert {name.partition(":")[0] for name in all_needs} <= names and len(all_needs) > 50
    assert all(set(needs) <= names for needs in all_needs.values())


def test_no_recipe_sets_what_has_no_effect(caplog) -> None:
    for recipe in ("mistral_math", "quickstart", "quickstart_llm"):
        with caplog.at_level(logging.WARNING):
            parse_run(ROOT / "recipes" / f"{recipe}.yaml", [])
    assert [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()] == []


def test_what_a_command_does_not_know_says_nothing() -> None:
    assert without_effect(KINDS, {"alpha": 1.0}, ["alpha"]) == []
