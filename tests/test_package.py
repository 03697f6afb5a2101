"""The package as a whole: quick to import, nothing started, names that do not move."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import equal_hf

REPOSITORY = Path(__file__).parents[1]


def test_importing_it_loads_no_framework_and_is_quick():
    code = (
        "import sys, time; began = time.perf_counter(); import equal_hf; took = time.perf_counter() - began; "
        "heavy = {'torch', 'transformers', 'datasets', 'faiss', 'sentence_transformers', 'ot'} & set(sys.modules); "
        "print(took, sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    took, heavy = out.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert float(took) < 1.0  # the one time that is part of the contract; it takes some 20 ms


def test_the_core_loads_no_framework_either():
    code = (
        "import sys, equal_hf.selection.bandits, equal_hf.selection.rewards, equal_hf.selection.reward_scaling, "
        "equal_hf.extraction.prompts.parse_reply, equal_hf.filters.build, equal_hf.records.history, "
        "equal_hf.training.round_rows;"
        "print(sorted({'torch', 'transformers', 'datasets', 'huggingface_hub'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def third_party(folder: Path) -> set[str]:
    """Top-level packages that the files of a folder import, anywhere in their source, and that are not Python's."""
    nodes = [node for path in folder.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    # Files that lie side by side import each other by name: a script's own folder, and the tests' helpers.
    beside = {path.stem for path in REPOSITORY.glob("recipes/*.py")} | {"equal_hf", "recipes", "tests"}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - beside


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("equal_hf", ["cpu", "report", "wandb", "trackio", "documents", "math"]),
        ("recipes", ["cpu", "report", "test"]),
        ("tests", ["cpu", "report", "wandb", "trackio", "documents", "math", "test"]),
    ],
)
def test_every_package_that_is_imported_is_declared(folder, extras):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
    providers = packages_distributions()
    undeclared = {
        name
        for name in third_party(REPOSITORY / folder)
        if not declared & {dist.lower().replace("_", "-") for dist in providers.get(name, [name])}
    }
    assert undeclared == set()


@pytest.mark.parametrize("name", [name for name in equal_hf.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(equal_hf, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = equal_hf.Nothing


def test_a_name_of_an_earlier_version_still_works_and_warns():
    with pytest.warns(FutureWarning, match="`value_reward` now"):
        assert equal_hf.worth_reward is equal_hf.value_reward


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("EqualDataCollector", "corpus extractor bandit reward_funcs args reference protected embedder"),
        ("EqualTrainer", "model args data_collector eval_dataset kwargs"),
        ("UCB", "alpha prior_weight neighbour_radius discount neighbours"),
        ("transport_reward", "round pair_embeddings reference_embeddings context"),
        ("loss_drop_reward", "round eval_loss previous_eval_loss trained_rows context"),
    ],
)
def test_signatures_that_users_lean_on(name, parameters):
    assert [p for p in inspect.signature(getattr(equal_hf, name)).parameters if p != "self"] == parameters.split()


def test_what_it_leans_on_in_trl_and_transformers_is_still_there():
    """Private methods that `EqualTrainer` calls or overrides, pinned here in one place."""
    from transformers import Trainer
    from trl import SFTTrainer

    parameters = list(inspect.signature(SFTTrainer._prepare_dataset).parameters)
    assert parameters == ["self", "dataset", "processing_class", "args", "packing", "formatting_func", "dataset_name"]
    # The round's rows are put in place by `on_epoch_begin`; the dataloader must be iterated after it.
    loop = inspect.getsource(Trainer._inner_training_loop)
    assert loop.index("on_epoch_begin") < loop.index("self._run_epoch(")
    epoch = inspect.getsource(Trainer._run_epoch)
    assert "iter(train_dataloader)" in epoch
    assert epoch.index("on_epoch_end") < epoch.rindex("_maybe_log_save_evaluate")
