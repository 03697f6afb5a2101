"""`equal-hf recipes`: what a user of the wheel gets, and what is never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

from equal_hf.cli import main
from tests.processes import REPOSITORY


def test_it_copies_all_that_the_commands_of_the_documentation_name(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    wanted = {
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("recipes", "accelerate_configs")
        for path in (REPOSITORY / folder).iterdir()
        if path.is_file()
    }
    assert set(files) == wanted
    assert all((tmp_path / name).read_bytes() == (REPOSITORY / name).read_bytes() for name in files)


def test_what_a_user_changed_stays(tmp_path: Path, capsys):
    assert main(["recipes", str(tmp_path)]) == 0
    assert main(["recipes", str(tmp_path)]) == 0, "the same files again are no error"
    mine = tmp_path / "recipes/quickstart.yaml"
    mine.write_text("seed: 1\n")
    (tmp_path / "recipes/mistral_math.yaml").unlink()
    capsys.readouterr()
    assert main(["recipes", str(tmp_path)]) == 1
    assert "quickstart.yaml: there already and not as in this version" in capsys.readouterr().err
    assert mine.read_text() == "seed: 1\n" and not (tmp_path / "recipes/mistral_math.yaml").exists()


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, capsys):
    (tmp_path / "recipes").write_text("")
    assert main(["recipes", str(tmp_path)]) == 1
    assert "cannot be read" in capsys.readouterr().err
