"""The page that shows a newcomer the rooms: it names them all, in the layers that are kept, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import equal_hf
from tests.test_layers import LAYERS

PACKAGE = Path(equal_hf.__file__).parent
PAGE = (PACKAGE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SUBJECTS = re.findall(r"^\*\*An? (\w+)\*\*", PAGE, re.MULTILINE)


def test_the_rooms_are_named_in_their_layers():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
    named = [set(re.findall(r"`(\w+)(?:\.py|/)`", row)) for row in rows]
    assert named == [set(layer.split()) for layer in LAYERS.strip().splitlines()]
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert set().union(*named) == there


def test_every_file_that_is_named_is_there():
    names = re.findall(r"`([\w/]+(?:\.py|/))`", PAGE) + re.findall(r"\]\(([^)]+)\)", PAGE)
    missing = [name for name in names if not (PACKAGE / name).exists() and not (PACKAGE.parent / name).exists()]
    assert missing == []


def test_there_is_an_example_of_everything_that_one_may_add():
    assert SUBJECTS == ["reward", "policy", "filter", "dialect", "tracker"]
    assert len(BLOCKS) == 1 + len(SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_example_runs(subject, world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "target"):
        (tmp_path / name).symlink_to(world / name)
    names: dict = {}
    for block in (BLOCKS[0], BLOCKS[1 + SUBJECTS.index(subject)]):
        exec(compile(block, f"equal_hf/README.md, {subject}", "exec"), names)
    if subject == "tracker":
        assert re.fullmatch(r"(round \d: \d+ pairs from 6 documents\n){2}", capsys.readouterr().out)
