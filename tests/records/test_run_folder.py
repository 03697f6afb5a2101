"""Round records: whole or absent, read back as written, refused where they do not belong."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from equal_hf.errors import RecordError, ResumeError
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import read_run
from equal_hf.types import Decision, Document, QAPair, Rejection, Round, Usage

BY_ARM = [Usage(6, 3, 1), Usage(4, 2, 1)]


def a_round(index=0, usage=BY_ARM[0] + BY_ARM[1]):
    pairs = (
        QAPair("What?\n\u2028", "That. 🙂", "d1", cluster=4, span=(0, 9), method="doctest", cost=0.25),
        QAPair("Who?", "", "d2", cluster=2, model="m", model_revision="r", prompt_hash="h"),
    )
    return Round(
        index,
        (Decision(4, 1.5, ("d1",), (3,), 0.25), Decision(2, float("inf"), ("d2",))),
        pairs,
        usage,
        {"transport": [0.25, None]},
        (Rejection("d1", "duplicate", "q", "a"), Rejection("d2", "not_json", raw="<html>")),
        rewards_through=index - 1,
        last=True,
    )


def write(records, round, by_arm=BY_ARM):
    documents = {d: Document(d, f"text {d}", metadata={"license": "mit", "round": 7}) for d in ("d1", "d2")}
    records.write_extracted(round, np.eye(2), documents, by_arm, 2 * np.eye(2))


def test_a_round_reads_back_as_it_was_written(tmp_path):
    records, by_arm = RoundRecords(tmp_path), [Usage(6, 3, 1, 4, 2), Usage(4, 2, 1, 0, 1)]
    round = a_round(usage=Usage(10, 5, 2, cached_tokens=4, reasoning_tokens=3))
    write(records, round, by_arm)
    assert (records.load(0), records.usage_by_arm(0)) == (round, by_arm)
    assert [pair.cost for pair in records.load(0).pairs] == [0.25, 0.0]
    np.testing.assert_array_equal(records.embeddings(0), np.eye(2))
    np.testing.assert_array_equal(records.document_embeddings(0), 2 * np.eye(2))
    np.testing.assert_array_equal(records.embeddings(0), np.eye(2))
    assert records.reward_record(0) is None
    records.write_reward_record(0, {"rewards": {"transport": [0.25, None]}, "mixed": [1.0, None], "metrics": {}})
    assert records.reward_record(0)["mixed"] == [1.0, None]


def test_rows_carry_their_provenance(tmp_path):
    import pyarrow.parquet as pq

    write(RoundRecords(tmp_path), a_round())
    row = pq.read_table(tmp_path / "rounds/round-00000/extracted/pairs.parquet").to_pylist()[0]
    assert (row["document_id"], row["arm_score"], row["span_start"], row["span_end"]) == ("d1", 1.5, 0, 9)
    assert (row["license"], row["round"], row["document_round"]) == ("mit", 0, "7")
    assert len(row["document_hash"]) == 64


def test_rows_carry_grades_and_values(tmp_path):
    from equal_hf.selection.pair_value import PAIR_VALUES

    records, round = RoundRecords(tmp_path), a_round()
    round = replace(round, pairs=tuple(replace(pair, grade=g) for pair, g in zip(round.pairs, (3, None), strict=True)))
    documents = {d: Document(d, "text", metadata={"value": "corpus", "grade": "A"}) for d in ("d1", "d2")}
    values = {"value": [0.5, None], **{f"value_{name}": [1.0, 0.0] for name in PAIR_VALUES}}
    records.write_extracted(round, np.eye(2), documents, BY_ARM, pair_values=values)
    assert records.load(0) == round
    for place, row in enumerate(records.pair_table(0).to_pylist()):
        assert {name: row[name] for name in values} == {name: column[place] for name, column in values.items()}
        assert (row["document_value"], row["document_grade"]) == ("corpus", "A")


def test_rows_of_before_there_were_grades_are_read(tmp_path):
    """Their corpus may have had a column of such a name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records, round = RoundRecords(tmp_path), a_round()
    write(records, round)
    path = tmp_path / "rounds/round-00000/extracted/pairs.parquet"
    table = pq.read_table(path)
    table = table.drop_columns([name for name in table.column_names if name.startswith(("grade", "value"))])
    pq.write_table(table.append_column("grade", pa.array(["A", "B"])), path)
    assert records.load(0) == round
    rows = records.pair_table(0).to_pylist()
    assert [(row["grade"], row["value"], row["document_grade"]) for row in rows] == [
        (None, None, "A"),
        (None, None, "B"),
    ]


def test_what_the_model_thought_is_a_column_only_where_a_run_asks_for_it(tmp_path):
    import pyarrow.parquet as pq

    from equal_hf.publishing.dataset import export_dataset

    records, pairs = RoundRecords(tmp_path), a_round().pairs
    RunFile(tmp_path).open({}, {})
    thought = tuple(replace(pair, reasoning=f"{pair.question} Hm.") for pair in pairs)
    write(records, a_round())
    write(records, replace(a_round(1), pairs=thought))
    assert [records.load(index).pairs for index in (0, 1)] == [pairs, thought]
    export_dataset(tmp_path, tmp_path / "dataset")
    tables = [pq.read_table(tmp_path / f"dataset/data/train/round-0000{index}.parquet") for index in (0, 1)]
    assert "reasoning" not in tables[0].column_names
    assert tables[1]["reasoning"].to_pylist() == ["What?\n\u2028 Hm.", "Who? Hm."]


def test_a_record_that_was_not_finished_is_not_there_and_is_cleared_away(tmp_path):
    records = RoundRecords(tmp_path)
    write(records, a_round())
    os.rename(tmp_path / "rounds/round-00000/extracted", tmp_path / "rounds/round-00000/.extracted-123")
    assert records.indices() == []
    RunFile(tmp_path).open({}, {})
    assert not (tmp_path / "rounds/round-00000/.extracted-123").exists()


def test_a_gap_between_records_is_named(tmp_path):
    records = RoundRecords(tmp_path)
    for index in (0, 2):
        write(records, a_round(index))
    with pytest.raises(RecordError, match="round 1 is missing"):
        records.indices()


ROUND = "rounds/round-00000/"
EXTRACTED = ROUND + "extracted/"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((EXTRACTED + name, None) for name in ("pairs.parquet", "rejected.parquet", "decisions.parquet")),
        *((EXTRACTED + "embeddings.safetensors", content) for content in (None, b"")),
        *((EXTRACTED + "round.json", content) for content in (None, b"[]", b'{"rewards": {}}')),
        *((ROUND + "rewards.json", content) for content in (None, b'{"rewards": 5}', b'{"rewards": {}}')),
        (ROUND + "rewards.json", b'{"rewards": {"transport": [0.5]}, "mixed": [1.0, 2.0]}'),
        (ROUND + "rewards.json", b'{"rewards": {}, "mixed": ["high", 2.0]}'),
        ("run.json", None),
        ("run.json", b'{"fingerprint": {}, "config": 5}'),
        ("run.json", b'{"fingerprint": {}, "schema": "2"}'),
    ],
)
def test_a_damaged_record_is_one_line_that_names_its_file_and_a_remedy(tmp_path, name, content):
    records = RoundRecords(tmp_path)
    RunFile(tmp_path).open({}, {})
    write(records, a_round())
    records.write_reward_record(0, {"rewards": {"transport": [0.25, None]}, "mixed": [1.0, None], "metrics": {}})
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:20] if content is None else content)
    with pytest.raises(RecordError) as caught:
        read_run(tmp_path)
        records.embeddings(0)
    assert re.fullmatch(
        rf"{re.escape(str(path))} is damaged \(.+\): restore it, or start a new run elsewhere", str(caught.value)
    )


def test_a_record_that_is_gone_is_named_with_a_remedy(tmp_path):
    records = RoundRecords(tmp_path)
    write(records, a_round())
    (tmp_path / EXTRACTED / "round.json").unlink()
    with pytest.raises(RecordError, match=r"round\.json is missing: restore it"):
        records.load(0)
    with pytest.raises(RecordError, match=r"run\.json is missing: is .* a run folder"):
        RunFile(tmp_path).read()


def as_version_0_1_wrote_it(folder):
    """Takes a run folder back to schema 1: other names of files, columns and rewards, no word of a version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps({name: run[name] for name in ("id", "fingerprint", "config")}))
    for round in (folder / "rounds").iterdir():
        table = pq.read_table(round / "extracted/decisions.parquet")
        names = ["promised" if name == "expected_value" else name for name in table.column_names]
        table = table.rename_columns(names).drop_columns(["cached_tokens", "reasoning_tokens"])
        pq.write_table(table, round / "extracted/decisions.parquet")
        pairs = pq.read_table(round / "extracted/pairs.parquet").drop_columns(["cost"])
        pairs = pairs.append_column("cost", pa.array(["free of charge"] * pairs.num_rows))  # one of the corpus
        pq.write_table(pairs, round / "extracted/pairs.parquet")
        facts = json.loads((round / "extracted/round.json").read_text())
        facts["credited_through"] = facts.pop("rewards_through")
        facts["usage"] = {name: facts["usage"][name] for name in ("prompt_tokens", "completion_tokens", "requests")}
        (round / "extracted/round.json").write_text(json.dumps(facts))
        rewards = json.loads((round / "rewards.json").read_text())
        rewards["rewards"]["worth"] = rewards["rewards"].pop("value")
        (round / "credited.json").write_text(json.dumps(rewards))
        (round / "rewards.json").unlink()


def test_a_run_of_version_0_1_is_read_reported_and_published_but_not_resumed(tmp_path):
    import pyarrow.parquet as pq

    from equal_hf.publishing.dataset import export_dataset
    from equal_hf.report.write_report import write_report

    records, run_file = RoundRecords(tmp_path), RunFile(tmp_path)
    run_file.open({"seed": 1, "corpus": "c0ffee"}, {})
    write(records, a_round())
    records.write_reward_record(0, {"rewards": {"value": [0.5, None]}, "mixed": [1.0, None], "metrics": {}})
    run_file.close()
    export_dataset(tmp_path, tmp_path / "now")
    as_version_0_1_wrote_it(tmp_path)
    assert (records.load(0), records.usage_by_arm(0)) == (a_round(), BY_ARM)
    assert [pair.cost for pair in records.load(0).pairs] == [None, None]
    assert records.reward_record(0)["rewards"] == {"value": [0.5, None]}
    assert write_report(tmp_path, pictures=False).is_file()
    export_dataset(tmp_path, tmp_path / "then")
    tables = [pq.read_table(tmp_path / name / "data/decisions/round-00000.parquet") for name in ("now", "then")]
    assert tables[0].equals(tables[1])
    pairs = pq.read_table(tmp_path / "then/data/train/round-00000.parquet").to_pylist()
    assert [(pair["cost_paid"], pair["document_cost"]) for pair in pairs] == [(None, "free of charge")] * 2
    with pytest.raises(ResumeError, match=r"written by EQUAL-HF 0\.1 \(records of schema 1\).*`output_dir`"):
        RunFile(tmp_path).open({"seed": 1, "corpus": "c0ffee"}, {})
