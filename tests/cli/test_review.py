"""`review_after`: a run stops once, shows some pairs, and goes on when it is started again."""

import json

import pytest
import yaml

from equal_hf.cli import main
from equal_hf.records.run_file import RunFile
from tests.processes import digests


@pytest.fixture
def config(world, tmp_path):
    settings = {
        "corpus": str(world / "corpus"),
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "explicit",
        "control": "uniform",
        "reward_funcs": ["value"],
        "num_rounds": 3,
        "arms_per_round": 2,
        "documents_per_arm": 4,
        "review_after": 1,
        "report_to": "none",
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def rounds(folder):
    return len(list((folder / "rounds").iterdir()))


def test_it_stops_once_shows_pairs_and_goes_on(config, tmp_path, capsys):
    assert main(["collect", str(config)]) == 0
    shown = capsys.readouterr().out
    assert rounds(tmp_path / "run") == 1 and not (tmp_path / "run" / "control").exists()
    for title in ("Best: worth most", "Worst: worth least", "Odd: least like", "Start the same command again"):
        assert title in shown
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    for kind in ("best", "worst", "odd"):
        assert f"In the review: {kind}" in page
    assert main(["collect", str(config)]) == 0
    assert rounds(tmp_path / "run") == rounds(tmp_path / "run" / "control") == 3
    assert "pairs:" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "run"), "--no-pictures"]) == 0


def test_a_start_that_was_killed_before_it_could_show_them_is_made_up_for(config, tmp_path, capsys):
    assert main(["collect", str(config), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["review"]
    path = tmp_path / "run" / "run.json"
    kept = {name: value for name, value in json.loads(path.read_text()).items() if name != "reviewed"}
    path.write_text(json.dumps(kept))
    assert main(["collect", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["review"] == first
    assert rounds(tmp_path / "run") == 1


def test_target_may_change_at_the_review_and_not_later(config, tmp_path, capsys):
    assert main(["collect", str(config)]) == 0
    before = digests(tmp_path / "run" / "rounds")
    assert main(["collect", str(config), "--n_reference", "12", "--seed", "1"]) == 1
    assert "seed: 42 → 1" in capsys.readouterr().err
    assert main(["collect", str(config), "--n_reference", "12"]) == 0
    after = digests(tmp_path / "run" / "rounds")
    assert {name: after[name] for name in before} == before
    (change,) = RunFile(tmp_path / "run").read()["changes"]
    assert change["from_round"] == 1 and "reference.target" in change["changed"]
    assert main(["collect", str(config), "--n_reference", "20"]) == 1
    assert "the items of the target changed" in capsys.readouterr().err
    assert main(["collect", str(config), "--n_reference", "12"]) == 0


def test_more_rounds_with_a_review_of_their_own(config, tmp_path, capsys):
    for _ in range(2):
        assert main(["collect", str(config)]) == 0
    more = ["collect", str(config), "--num_rounds", "5", "--review_after", "4"]
    assert main(more) == 0
    assert rounds(tmp_path / "run") == 4
    assert main(more) == 0
    assert rounds(tmp_path / "run") == rounds(tmp_path / "run" / "control") == 5


def test_a_review_that_comes_too_late_or_never_is_said(config, tmp_path, capsys):
    assert main(["collect", str(config), "--review_after", "4"]) == 0
    assert "No review: `review_after` is 4, and the run has 3 rounds at most" in capsys.readouterr().err
    assert main(["collect", str(config)]) == 0
    assert "No review: `review_after` is 1, and 3 rounds are recorded already" in capsys.readouterr().err
    assert rounds(tmp_path / "run") == 3


def test_no_folder_is_made_for_what_needs_a_trainer(config, tmp_path, capsys):
    assert main(["collect", str(config), "--pair_values", "influence"]) == 1
    assert "`pair_values` names influence" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
