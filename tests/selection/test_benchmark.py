"""The comparison of policies runs on any documents and targets in its columns, and ends with JSON."""

import json

import pandas as pd
import pytest

from tests.benchmarks import selection
from tests.world import make_documents, make_target


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    documents = pd.DataFrame(make_documents(40))
    documents.to_parquet(folder / "documents.parquet")
    target = make_target()
    rows = [
        {"question": item.question, "answer": item.answer, "split": part}
        for part in ("reference", "validation", "test")
        for item in getattr(target, part)
    ]
    pd.DataFrame(rows).to_parquet(folder / "target.parquet")
    useful = [2 * (source == "arithmetic") for source in documents["source"]]
    pd.DataFrame({"id": documents["id"], "n_target_like_qa": useful}).to_parquet(folder / "labels.parquet")
    return folder


def run(files, capsys, *flags):
    given = ["--documents", files / "documents.parquet", "--targets", files / "target.parquet", *flags]
    selection.main([str(value) for value in given])
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_it_compares_policies(files, capsys):
    flags = ["--labels", files / "labels.parquet", "--budget", "0.1", "0.2", "--seeds", "2", "--clusters", "10"]
    flags += ["--arms-per-round", "1"]  # few clusters are useful, and a round pulls different ones
    told = run(files, capsys, *flags)
    table = told["embedders"]["marks"]["0.2"]
    assert set(table) == {"uniform", "nearest-mean", "nearest-5", "paper", "ours"}
    assert told["target_like"] == 80 and told["pairs"] == 400  # the pairs are those the documents state
    assert all(row["documents_share"]["mean"] == 0.2 for row in table.values())
    assert table["ours"]["target_like"]["mean"] >= 70  # of 80, with as many documents as are useful
    assert table["uniform"]["target_like"]["mean"] < 40


def test_it_trains_on_each_selection(files, capsys):
    flags = ["--train", "--train-steps", "3", "--seeds", "1", "--clusters", "10", "--policies", "uniform", "ours"]
    told = run(files, capsys, *flags)
    table = told["embedders"]["marks"]["0.1"]
    losses = [told["all_documents"], *table.values()]
    assert all(4 < row["test_loss"]["mean"] < 9 for row in losses)


def test_unknown_policies_are_refused(files, capsys):
    with pytest.raises(SystemExit):
        run(files, capsys, "--policies", "clairvoyant")
    assert "clairvoyant" in capsys.readouterr().err
