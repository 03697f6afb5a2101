"""The recipe of an index, and the command under `accelerate launch`."""

from __future__ import annotations

import pytest

from tests.processes import digests, run

PLAIN = ["--align", "False", "--corpus_map", "False"]


def test_under_accelerate(under_accelerate):
    folder, out = under_accelerate
    assert (folder / "corpus/corpus.json").is_file()
    assert "200 documents in 8 clusters" in out


@pytest.fixture(scope="module")
def under_accelerate(config, tmp_path_factory):
    """One process: on a CPU `accelerate launch` starts no more without MPI."""
    folder = tmp_path_factory.mktemp("accelerate")
    launch = ["-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "1"]
    arguments = [*launch, "-m", "equal_hf", "index", str(config), "--output_dir", str(folder / "run"), *PLAIN]
    return folder / "run", run(arguments, folder / "log")


def test_the_recipe_is_the_command(under_accelerate, config, tmp_path):
    """On two processes, and with another number of threads in the environment: the same bytes."""
    flags = ["--config", str(config), "--output_dir", str(tmp_path / "run"), *PLAIN]
    arguments = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "recipes/cluster_automathtext.py", *flags]
    out = run(arguments, tmp_path / "log", OMP_NUM_THREADS="2")
    assert out.count("200 documents in 8 clusters") == 1
    assert digests(tmp_path / "run/corpus") == digests(under_accelerate[0] / "corpus")
