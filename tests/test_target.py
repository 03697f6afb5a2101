"""Reading the target task, and saying what is missing."""

import gzip
import json
import logging

import pandas as pd
import pytest

from equal_hf.errors import ConfigError, TargetError
from equal_hf.target import (
    Target,
    TargetConfig,
    TargetItem,
    evaluation_sets,
    has_annotations,
    load_target,
    load_targets,
)


@pytest.fixture
def table(tmp_path):
    rows = [
        {"question": f"q{i}", "answer": f"a{i}", "final": str(i), "split": part}
        for part, size in (("reference", 8), ("validation", 4), ("test", 3))
        for i in range(size)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    return str(tmp_path / "table.parquet")


def test_a_folder_with_a_file_for_each_split(world):
    target = load_target(str(world / "target"), n_reference=5)
    assert [len(part) for part in (target.reference, target.validation, target.test)] == [5, 20, 20]
    assert target.test[0].final is not None
    assert len(target.protected()) == 45


def test_one_table_with_a_split_column(table):
    target = load_target(table, split_column="split", n_reference=None)
    assert [len(part) for part in (target.reference, target.validation, target.test)] == [8, 4, 3]


def test_samples_are_seeded(table):
    def sample(seed):
        return load_target(table, split_column="split", n_reference=3, seed=seed).reference

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_a_missing_split_is_named_with_its_setting(table, world):
    with pytest.raises(TargetError, match=r"no validation part in split 'dev'.*`target_validation_split`"):
        load_target(table, split_column="split", validation_split="dev")
    with pytest.raises(TargetError, match=r"no test part in split 'exam'.*`target_test_split`"):
        load_target(str(world / "target"), test_split="exam")


def test_a_part_can_be_left_out(table):
    assert load_target(table, split_column="split", test_split=None).test == ()


def test_a_missing_column_lists_those_there_are(table):
    with pytest.raises(TargetError, match=r"no column 'problem'.*`target_question_column`.*question"):
        load_target(table, split_column="split", question_column="problem")


def test_a_missing_target_is_named(tmp_path):
    with pytest.raises(TargetError, match=r"nowhere"):
        load_target(str(tmp_path / "nowhere"))


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def test_numbers_are_taken_as_they_are_written(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer,final\nOne?,007,0.50\nTwo?,1e5,\n")
    (tmp_path / "b.jsonl").write_text(
        '{"question": "Three?", "answer": 1e5, "final": 1.50}\n{"question": 4, "answer": "x"}'
    )
    csv = load_target(str(tmp_path / "a.csv"), validation_split=None, test_split=None).reference
    assert [(item.answer, item.final) for item in csv] == [("007", "0.50"), ("1e5", None)]
    rows = load_target(str(tmp_path / "b.jsonl"), validation_split=None, test_split=None).reference
    assert [(item.question, item.answer, item.final) for item in rows] == [("Three?", "1e5", "1.50"), ("4", "x", None)]


def test_a_part_is_the_files_called_like_it_of_any_format(tmp_path):
    folder = tmp_path / "target [v2]"
    (folder / "test").mkdir(parents=True)
    (folder / "reference.jsonl").write_text(lines({"question": "r", "answer": "1"}))
    (folder / "dev.csv").write_text("question,answer\nv,2\n")
    pd.DataFrame({"question": ["t", "u"], "answer": ["3", "4"]}).to_parquet(folder / "test/part-0.parquet")
    (folder / "reference-notes.txt").write_text("No questions.")
    target = load_target(str(folder))
    assert [[item.question for item in part] for part in (target.reference, target.validation, target.test)] == [
        ["r"],
        ["v"],
        ["t", "u"],
    ]
    with pytest.raises(TargetError, match=r'no reference part in split \'train[^\']*\'.*Unknown split "trained"'):
        load_target(str(folder), reference_split="trained")


def test_slices_are_of_a_split_as_on_the_hub(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(*({"question": f"q{n}", "answer": "a"} for n in range(10))))
    target = load_target(
        str(tmp_path), reference_split="train[:3]", validation_split="train[50%:70%]", test_split="train[-1:]"
    )
    parts = (target.reference, target.validation, target.test)
    assert [[item.question for item in part] for part in parts] == [["q0", "q1", "q2"], ["q5", "q6"], ["q9"]]


def test_rows_without_a_question_or_an_answer_are_counted(tmp_path, caplog):
    rows = [{"question": "q", "answer": "a"}, {"question": " ", "answer": "a"}, {"question": "q"}]
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    with caplog.at_level(logging.WARNING):
        assert len(load_target(str(tmp_path / "a.jsonl"), validation_split=None, test_split=None).reference) == 1
    assert "2 of 3 rows have no question or no answer" in caplog.text


ROW = b'{"question": "q", "answer": "a"}\n'


# The names of these tests hold the bytes, so nothing in them may differ from one process to the next.
@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.jsonl.gz", gzip.compress(ROW * 99, mtime=0)[:-9], "the compressed data ends too"),
        ("a.csv", b"question,answer\nq,a\nq,a,b\n", "line 3: 3 values where the header names 2"),
        ("a.jsonl", ROW + b'{"question"', "line 2: "),
        ("a.csv", b"question,answer\nq,caf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, name, content, cause):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TargetError, match=rf"The file .*{name} of the target cannot be read: .*{cause}") as refused:
        load_target(str(tmp_path / name))
    assert "on_bad_file" not in str(refused.value) and "split" not in str(refused.value)


def test_a_blank_result_is_none_and_one_marked_in_the_answer_is_read(tmp_path):
    rows = [
        {"question": "a", "answer": "6 * 3 = <<6*3=18>>18\n#### 18", "final": " "},
        {"question": "b", "answer": r"Thus $\boxed{\frac{1}{2}}$, not $\boxed{}$.", "final": None},
        {"question": "c", "answer": r"First \boxed{1}, then \boxed 7", "final": ""},
        {"question": "d", "answer": "#### Step 1\nAdd 2 and 2.", "final": ""},
        {"question": "e", "answer": "#### 3", "final": "4"},
    ]
    (tmp_path / "t.jsonl").write_text(lines(*rows))
    items = load_target(str(tmp_path / "t.jsonl"), reference_split="train", validation_split=None, test_split=None)
    assert [item.final for item in items.reference] == ["18", r"\frac{1}{2}", "7", None, "4"]
    assert TargetItem("q", "a", "\n").final is None


def test_the_column_of_results_is_a_setting(tmp_path):
    (tmp_path / "t.jsonl").write_text(lines({"question": "q", "solution": "7 pages", "answer": "7", "final": "8"}))
    args = TargetConfig(
        target=[str(tmp_path / "t.jsonl")],
        target_reference_split=["train"],
        target_validation_split=None,
        target_test_split=None,
        target_answer_column=["solution"],
        target_final_column=["answer"],
    )
    assert load_targets(args, 0)["target"].reference == (TargetItem("q", "7 pages", "7"),)
    args.target_final_column = ["result"]
    with pytest.raises(TargetError, match=r"no column 'result'.*`target_final_column`"):
        load_targets(args, 0)


def test_calculator_annotations_are_no_part_of_what_losses_are_measured_on():
    answers = ("48/2 = <<48/2=24>>24.\n#### 24", "cout << a == b >> c; <<x=1>>")
    items = tuple(TargetItem("Q?", answer) for answer in answers)
    targets = {"target": Target(items, items, items)}

    def shown(part, **settings):
        return [row["completion"][0]["content"] for row in evaluation_sets(targets, part, **settings)]

    assert shown("validation") == shown("test") == ["48/2 = 24.\n#### 24", answers[1]]
    assert shown("test", annotations="keep") == list(answers)
    assert has_annotations(targets, "validation") and not has_annotations(
        {"t": Target(items, items[1:])}, "validation"
    )
    assert TargetConfig(target=["a"]).target_annotations == "strip"
    with pytest.raises(ConfigError, match="`target_annotations` is 'drop': set it to one of strip, keep"):
        TargetConfig(target=["a"], target_annotations="drop")
