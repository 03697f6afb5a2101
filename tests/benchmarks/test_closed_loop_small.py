"""The benchmark of the closed loop at a small scale: every arm selects, and what was trained is not trained again."""

import json

from tests.benchmarks.closed_loop import main
from tests.benchmarks.closed_loop_replay import ARMS

FEW = (
    "--seeds 1 --clusters 6 --reference-items 10 --rounds 3 --arms-per-round 2 --documents-per-arm 2 "
    "--rows-per-round 8 --batch 4 --valued-pairs 4 --gradient-items 4 --validation 4 --tuning-steps 1 "
    "--steps 3 --test-items 4"
).split()


def test_every_arm_selects_and_goes_on_from_what_is_kept(world, tmp_path, capsys):
    documents = ["--documents", str(world / "documents.parquet"), "--target", str(world / "target"), "--like", "d"]
    command = [*documents, *FEW, "--model", str(world / "model"), "--cache", str(tmp_path)]
    told = main(command)
    assert list(told["arms"]) == list(ARMS)
    assert all(arm["test_loss"] > 0 for arm in told["arms"].values())
    assert told["arms"]["value"]["changed"] == 0 and told["arms"]["value"]["test_loss_by_rounds"] > 0
    assert all(arm["rounds_changed"][0] == 0 for arm in told["seeds"][0].values()), "nothing is known before the first"
    assert not list(tmp_path.rglob("*.pt")), "states are of no use once all is measured"
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = main(command)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == kept
    for name, arm in told["arms"].items():
        assert again["arms"][name]["test_loss"] == arm["test_loss"], name
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["arms"].keys() == ARMS.keys()
