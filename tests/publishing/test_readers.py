"""A published dataset is opened by what people open datasets with, and is what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from equal_hf.publishing.dataset import export_dataset
from equal_hf.records.run_folder import RoundRecords
from equal_hf.utils.parquet import MAX_BYTES, MAX_ROWS, row_groups
from tests.publishing.runs import HOSTILE, make_run, write_round
from tests.servers.hub import HubServer

READ = """
import json, sys
import datasets, duckdb, pandas, polars
from huggingface_hub import snapshot_download
from equal_hf.publishing.hub import publish_dataset
publish_dataset(sys.argv[1], "tester/qa")
told = {}
for name in ("default", "rejected", "decisions"):
    said = datasets.load_dataset_builder("tester/qa", name).info
    read = datasets.load_dataset("tester/qa", name, split="train")
    streamed = datasets.load_dataset("tester/qa", name, split="train", streaming=True)
    assert list(streamed) == list(read) and streamed.features == read.features == said.features
    sizes = [
        [info.splits["train"].num_examples, info.splits["train"].num_bytes, info.download_size, info.dataset_size]
        for info in (said, read.info)
    ]
    told[name] = {"sizes": sizes, "columns": read.column_names, "rows": len(read)}
rows = datasets.load_dataset("tester/qa", split="train")
folder = snapshot_download("tester/qa", repo_type="dataset")
files = f"{folder}/data/train/*.parquet"
frames = {
    "pandas": pandas.read_parquet("hf://datasets/tester/qa/data/train/"),
    "polars": polars.read_parquet(files).sort("round", maintain_order=True),
    "duckdb": duckdb.sql(f"select * from read_parquet('{files}') order by filename, file_row_number").df(),
}
told["questions"] = {name: [str(q) for q in frame["question"]] for name, frame in frames.items()}
told["datasets"] = list(rows["question"])
told["chat"] = [
    frames["polars"]["prompt"].dtype == polars.List(polars.Struct({"role": polars.String, "content": polars.String})),
    [dict(turn) for turn in frames["pandas"]["prompt"][2]],
    duckdb.sql(f"select completion[1].content c from read_parquet('{files}') where \\"round\\" = 1").fetchall(),
]
print(json.dumps(told))
"""


@pytest.mark.usefixtures("plain")
def test_everybody_reads_what_the_card_says_after_each_push(tmp_path: Path):
    run = make_run(tmp_path / "run", rewarded=False)
    with HubServer() as hub:
        for rounds in (3, 4):
            told = json.loads(hub.python(READ, run, home=tmp_path / f"home{rounds}").splitlines()[-1])
            for name, rows in (("default", 4 * rounds), ("rejected", rounds), ("decisions", 2 * rounds)):
                said, read = told[name]["sizes"]
                assert said == read and said[0] == told[name]["rows"] == rows, name
            assert {"license", "source"} <= set(told["rejected"]["columns"])
            assert all(questions == told["datasets"] for questions in told["questions"].values())
            typed, chat, answers = told["chat"]
            assert typed and chat == [{"role": "user", "content": HOSTILE}] and answers == [["1"], ["2"]] * 2
            if rounds == 3:
                write_round(RoundRecords(run), 3)


def test_files_have_pages_that_stay_and_row_groups_that_a_viewer_can_show(run_dir: Path):
    folder = export_dataset(run_dir)
    for path in folder.glob("data/*/*.parquet"):
        metadata = pq.read_metadata(path)
        assert json.loads(metadata.metadata[b"content_defined_chunking"])["min_chunk_size"] == 256 << 10
        column = metadata.row_group(0).column(0)
        assert column.has_offset_index and column.has_column_index
    import pyarrow as pa

    long = pa.table({"text": ["x" * (MAX_BYTES // 3)] * 7, "n": range(7)})
    many = pa.table({"n": range(3 * MAX_ROWS)})
    for table in (long, many):
        parts = list(row_groups(table))
        assert pa.concat_tables(parts).equals(table)
        assert all(len(part) <= MAX_ROWS and (part.nbytes <= MAX_BYTES or len(part) == 1) for part in parts)


def test_what_makes_a_run_again_lies_beside_its_dataset(tmp_path: Path):
    import yaml

    run = make_run(tmp_path / "run", rounds=1)
    assert not (export_dataset(run) / "equal.yaml").exists(), "an earlier version recorded no settings"
    record = json.loads((run / "run.json").read_text())
    record["endpoints"] = {"endpoints": [], "prompt": "Pairs of {{ document }}, please. hf_" + "s" * 34}
    record["config"]["given"] = {
        "corpus": "someone/corpus",
        "output_dir": str(run),
        "hub_dataset_id": "me/qa",
        "hub_token": "***",
        "target": f"{tmp_path}/target.parquet",
        "num_rounds": 3,
        "extractor_prompt": "/home/me/prompt.jinja",
    }
    (run / "run.json").write_text(json.dumps(record))
    folder = export_dataset(run)
    text = (folder / "equal.yaml").read_text()
    assert yaml.safe_load(text) == {
        "corpus": "someone/corpus",
        "target": "…/target.parquet",
        "num_rounds": 3,
        "extractor_prompt": "prompt.jinja",
    }
    assert "Pairs of {{ document }}, please." in (folder / "prompt.jinja").read_text()
    assert "hf_sss" not in (folder / "prompt.jinja").read_text() and str(tmp_path) not in text
    assert {"equal.yaml", "prompt.jinja"} <= set(json.loads((folder / "equal.json").read_text())["files"])
    assert "\n# What begins with …/ was a folder of the machine" in text and text.startswith(
        "# equal-hf train equal.yaml "
    )
    assert "`extractor_prompt` takes this repository" in (folder / "README.md").read_text()
