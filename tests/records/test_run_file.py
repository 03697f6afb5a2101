"""What a run is, in `run.json`: taken up under the same settings only, and by one process at a time."""

import json

import pytest

from equal_hf.errors import RecordError, ResumeError
from equal_hf.records.run_file import RunFile


def test_resuming_under_other_settings_names_what_changed(tmp_path):
    first = RunFile(tmp_path)
    assert first.open({"seed": 1, "bandit": {"alpha": 0.1}}, {}) is False
    first.close()
    with pytest.raises(ResumeError, match=r"bandit\.alpha: 0\.1 → 0\.2.*output_dir"):
        RunFile(tmp_path).open({"seed": 1, "bandit": {"alpha": 0.2}}, {})


def test_a_target_that_changed_is_told_in_words(tmp_path):
    first = RunFile(tmp_path)
    assert first.open({"protected": "29cd", "reference": {"gsm8k": "11aa"}}, {}) is False
    first.close()
    with pytest.raises(ResumeError, match=r"the items of the target changed .*`n_validation`") as caught:
        RunFile(tmp_path).open({"protected": "f4e8", "reference": {"gsm8k": "22bb"}}, {})
    assert str(caught.value).count("the items of the target changed") == 1
    assert "f4e8" not in str(caught.value) and "22bb" not in str(caught.value)


def test_records_without_a_run_are_refused(tmp_path):
    (tmp_path / "rounds/round-00000/extracted").mkdir(parents=True)
    with pytest.raises(ResumeError, match=r"no run\.json"):
        RunFile(tmp_path).open({}, {})


def test_a_foreign_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("not json")
    with pytest.raises(RecordError, match=r"run\.json is damaged"):
        RunFile(tmp_path).open({}, {})
    for content, message in (("[1]", r"run\.json is damaged"), ('{"a": 1}', "is .* a run folder")):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(RecordError, match=message):
            RunFile(tmp_path).read()


def test_a_run_of_a_later_version_is_refused_with_that_version(tmp_path):
    folder = RunFile(tmp_path)
    folder.open({"seed": 1}, {})
    path = tmp_path / "run.json"
    run = json.loads(path.read_text())
    assert run["equal_hf"]
    path.write_text(json.dumps(run | {"equal_hf": "9.1", "schema": 99}))
    with pytest.raises(RecordError, match=r"written by EQUAL-HF 9\.1 \(records of schema 99\)"):
        folder.open({"seed": 1}, {})


def test_two_processes_in_one_folder_are_refused(tmp_path):
    first, second = RunFile(tmp_path), RunFile(tmp_path)
    assert first.open({"seed": 1}, {}) is False
    with pytest.raises(ResumeError, match="another process is running"):
        second.open({"seed": 1}, {})
    first.close()
    assert second.open({"seed": 1}, {}) is True
