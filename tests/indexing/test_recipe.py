"""The recipe of an index, and the command under `accelerate launch`."""

from __future__ import annotations

import pytest

from tests.processes import digests, run

PLAIN = ["--align", "False", "--corpus_map", "False"]
LAUNCH = ["-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "2", "--main_process_port", "0"]


@pytest.fixture(scope="module")
def under_accelerate(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("accelerate")
    arguments = [*LAUNCH, "-m", "equal_hf", "index", str(config), "--output_dir", str(folder / "run"), *PLAIN]
    return folder / "run", run(arguments, folder / "log")


def test_under_accelerate(under_accelerate):
    folder, out = under_accelerate
    assert (folder / "corpus/corpus.json").is_file()
    assert "200 documents in 8 clusters" in out


def test_the_recipe_is_the_command(under_accelerate, config, tmp_path):
    flags = ["--config", str(config), "--output_dir", str(tmp_path / "run"), *PLAIN]
    out = run(["recipes/cluster_automathtext.py", *flags], tmp_path / "log")
    assert "200 documents in 8 clusters" in out
    assert digests(tmp_path / "run/corpus") == digests(under_accelerate[0] / "corpus")
