"""The exported folder is an ordinary dataset, the same bytes for the same records, and never another run's."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from equal_hf.errors import PublishError
from equal_hf.publishing.dataset import dataset_files, export_dataset
from equal_hf.publishing.previous_export import run_identities
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.types import Rejection
from tests.publishing.runs import HOSTILE, make_run, write_rewards, write_round


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def load(folder: Path, tmp_path: Path, name: str | None = None, **options):
    return datasets.load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache"), **options)


def test_every_pair_is_there_with_its_provenance(run_dir: Path, tmp_path: Path):
    folder = export_dataset(run_dir)
    assert folder == run_dir / "hub" / "dataset"
    rows = load(folder, tmp_path)
    assert rows.num_rows == 12
    assert rows[2] == {
        "prompt": [{"role": "user", "content": HOSTILE}],
        "completion": [{"role": "assistant", "content": "0"}],
        "question": HOSTILE,
        "answer": "0",
        "document_id": "d0-1-0",
        "document_hash": rows[2]["document_hash"],
        "cluster": 1,
        "round": 0,
        "arm_score": float("inf"),
        "span_start": 0,
        "span_end": 6,
        "method": "endpoint",
        "model": "m/big",
        "model_revision": "abc",
        "prompt_hash": "p1",
        "response_key": "",
        "grade": 2,
        "value": 0.5,
        "value_nearness": None,
        "value_nearest": None,
        "value_likeness": None,
        "value_grade": None,
        "value_influence": None,
        "cost_paid": 0.25,
        "filters_hash": rows[2]["filters_hash"],
        "reward_transport": None,
        "license": "MIT",
        "source": HOSTILE,
    }
    assert len(rows[2]["document_hash"]) == 64 and len(rows[2]["filters_hash"]) == 16
    assert rows[0]["reward_transport"] == 0.25
    assert next(iter(load(folder, tmp_path, streaming=True)))["question"] == "What is 0 + 0?"


def test_decisions_carry_rewards_and_rejected_carry_reasons(tmp_path: Path):
    folder = export_dataset(make_run(tmp_path / "run", rewarded=False))
    decisions = load(folder, tmp_path, "decisions")
    assert decisions["arm"] == [0, 1, 1, 2, 2, 3]
    assert decisions["reward_transport"] == [0.25, None] * 3
    assert decisions["reward_loss_drop"] == [0.5] * 4 + [None] * 2, "the last round has no rewards yet"
    assert decisions["reward"] == [0.75, 0.5] * 2 + [None] * 2
    assert decisions["eval_loss"][0] == 3.0
    assert decisions[0]["documents"] == ["d0-0-0", "d0-0-1"]
    rejected = load(folder, tmp_path, "rejected")
    assert rejected["reason"] == ["duplicate"] * 3
    assert rejected["round"] == [0, 1, 2]
    assert rejected[0]["raw"] == HOSTILE
    # Also of documents that gave no pair.
    barren = load(export_dataset(make_run(tmp_path / "barren", rounds=1, pairs_per_arm=0)), tmp_path, "rejected")
    assert (barren["license"][:], barren["source"][:]) == (["MIT"], [HOSTILE[:200]])


def test_the_same_records_give_the_same_bytes(run_dir: Path, tmp_path: Path):
    first = export_dataset(run_dir, tmp_path / "out")
    before, times = contents(first), {path: path.stat().st_mtime_ns for path in first.rglob("*.parquet")}
    export_dataset(run_dir, first)
    assert contents(first) == before
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.parquet")} == times, "nothing was written again"
    copied = shutil.copytree(run_dir, tmp_path / "copied")
    assert contents(export_dataset(copied, tmp_path / "b" / "out")) == before


def test_a_round_adds_files_and_changes_no_pairs(tmp_path: Path):
    run = make_run(tmp_path / "run", rewarded=False)
    before = contents(export_dataset(run))
    records = RoundRecords(run)
    write_rewards(records, 2)
    write_round(records, 3)
    after = contents(export_dataset(run))
    kept = {name for name in before if name.startswith(("data/train", "data/rejected"))}
    assert len(kept) == 6
    assert all(after[name] == before[name] for name in kept)
    assert "data/train/round-00003.parquet" in after
    assert after["data/decisions/round-00002.parquet"] != before["data/decisions/round-00002.parquet"]


def test_a_cached_export_is_never_served_for_another(tmp_path: Path):
    run = make_run(tmp_path / "run", rounds=1)
    assert load(export_dataset(run), tmp_path).num_rows == 4
    assert load(export_dataset(make_run(tmp_path / "other", rounds=3, seed=2)), tmp_path).num_rows == 12
    write_round(RoundRecords(run), 1)
    assert load(export_dataset(run), tmp_path).num_rows == 8
    assert load(export_dataset(run), tmp_path, "decisions")["round"] == [0, 0, 1, 1]


def test_rounds_without_pairs_leave_the_dataset_whole(tmp_path: Path):
    run = make_run(tmp_path / "run", rounds=1, pairs_per_arm=0)
    folder = export_dataset(run)
    empty = load(folder, tmp_path, streaming=True)
    assert list(empty) == []
    assert {"prompt", "completion", "round"} <= set(empty.column_names)
    with pytest.raises(ValueError, match="no data"):  # all that `datasets` itself says of a dataset without rows
        load(folder, tmp_path)
    assert "No pair was kept" in (folder / "README.md").read_text()
    write_round(RoundRecords(run), 1)
    export_dataset(run)
    assert [path.name for path in (folder / "data" / "train").iterdir()] == ["round-00001.parquet"]
    assert load(folder, tmp_path).num_rows == 4
    assert load(folder, tmp_path, "decisions").num_rows == 4


def test_an_interrupted_export_is_made_good(run_dir: Path):
    folder = export_dataset(run_dir)
    before = contents(folder)
    shard = folder / "data" / "train" / "round-00001.parquet"
    shard.write_bytes(b"half")
    (folder / "data" / "train" / "round-00009.parquet").write_bytes(b"left behind")
    export_dataset(run_dir)
    assert contents(folder) == before


def test_what_a_person_put_there_is_neither_listed_nor_removed(run_dir: Path, tmp_path: Path):
    folder = export_dataset(run_dir)
    own = {
        name: folder / name
        for name in ("data/train/mine.parquet", "data/extra/round-00000.parquet", "pictures/me.png", "notes.txt")
    }
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for path in own.values():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    links = [folder / name for name in ("data/train/round-00099.parquet", "pictures/link.png")]
    for path in links:
        path.symlink_to(secret)
    export_dataset(run_dir)
    assert all(path.read_bytes() == b"mine" for path in own.values()) and all(path.is_symlink() for path in links)
    names = set(dataset_files(folder))
    assert not names & set(own) and not names & {path.relative_to(folder).as_posix() for path in links}
    assert {"equal.json", "README.md", "data/train/round-00000.parquet"} <= names


@pytest.mark.parametrize("name", ["data/train/round-00001.parquet", "data/train", "data", "README.md"])
def test_no_link_is_followed(run_dir: Path, tmp_path: Path, name: str):
    folder = export_dataset(run_dir)
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(tmp_path / "moved")
    before = contents(tmp_path / "moved") if (tmp_path / "moved").is_dir() else (tmp_path / "moved").read_bytes()
    with pytest.raises(PublishError, match=f"{Path(name).name} is a symbolic link"):
        dataset_files(folder)
    write_round(RoundRecords(run_dir), 3)
    with pytest.raises(PublishError, match=f"{Path(name).name} is a symbolic link"):
        export_dataset(run_dir)
    after = contents(tmp_path / "moved") if (tmp_path / "moved").is_dir() else (tmp_path / "moved").read_bytes()
    assert after == before


def test_a_corpus_column_never_takes_the_place_of_ours(tmp_path: Path):
    import pyarrow.parquet as pq

    run = make_run(tmp_path / "run", rounds=1)
    path = run / "rounds" / "round-00000" / "extracted" / "pairs.parquet"
    table = pq.read_table(path)
    names = [{"license": "prompt", "source": "reward_transport"}.get(name, name) for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    rows = load(export_dataset(run), tmp_path)
    assert rows[0]["prompt"] == [{"role": "user", "content": "What is 0 + 0?"}]
    assert (rows[0]["document_prompt"], rows[0]["document_reward_transport"]) == ("MIT", HOSTILE)


def test_what_is_not_this_runs_export_is_left_alone(run_dir: Path, tmp_path: Path):
    other = export_dataset(make_run(tmp_path / "other"))
    with pytest.raises(PublishError, match=r"another run.*out_dir"):
        export_dataset(run_dir, other)
    project = tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("# Mine")
    with pytest.raises(PublishError, match=r"no run wrote.*out_dir"):
        export_dataset(run_dir, project)
    assert (project / "README.md").read_text() == "# Mine"
    (other / "equal.json").write_text("{")
    with pytest.raises(PublishError, match="is damaged"):
        export_dataset(run_dir, other)
    with pytest.raises(PublishError, match="no recorded round"):
        export_dataset(tmp_path / "nothing")


def test_an_export_that_is_named_by_its_settings_is_taken_up(run_dir: Path):
    manifest = export_dataset(run_dir) / "equal.json"
    found = json.loads(manifest.read_text())
    by_settings = run_identities(RunFile(run_dir).read())[1]
    manifest.write_text(json.dumps(found | {"run": by_settings}))
    export_dataset(run_dir)
    assert json.loads(manifest.read_text()) == found


def test_the_summary_in_the_run_folder_reaches_the_card(run_dir: Path):
    summary = {
        "equal": {"test_loss": 2.5, "documents": 12},
        "uniform": {"test_loss": 2.75, "documents": 12},
        "seed": 1,
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))
    card = (export_dataset(run_dir) / "README.md").read_text()
    assert "| `test_loss` | 2.5 | 2.75 |" in card


def test_a_protected_item_that_an_earlier_version_recorded_as_text_is_not_published(tmp_path: Path):
    item, reply = (
        "How many eggs do the ducks lay?",
        '[{"question": "How many eggs do the ducks lay?"}, {"question": "q"}]',
    )
    rejected = (
        Rejection("d0-0-0", "contaminated", item, "16", reply),
        Rejection("d0-0-0", "duplicate", "q", "a", reply),
        Rejection("d0-1-0", "contaminated", "withheld: repeats an item of the target, sha256 0", "", ""),
    )
    folder = make_run(tmp_path / "run", rounds=1)
    table = pq.read_table(folder / "rounds/round-00000/extracted/rejected.parquet")
    rows = pa.Table.from_pylist([asdict(row) for row in rejected], table.schema)
    pq.write_table(rows, folder / "rounds/round-00000/extracted/rejected.parquet")
    published = load(export_dataset(folder), tmp_path, "rejected")
    assert "ducks" not in str(published.to_dict())
    assert published["question"][0].startswith("withheld: repeats an item of a protected set, sha256 ")
    assert (published["question"][1], published["raw"][1]) == ("q", published["raw"][0])
    assert published["question"][2] == rejected[2].question
