"""Reading the target task, and saying what is missing."""

import pandas as pd
import pytest

from equal_hf.errors import TargetError
from equal_hf.target import load_target


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
