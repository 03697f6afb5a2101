"""The package as a whole: quick to import, nothing started, names that do not move."""

import inspect
import subprocess
import sys

import pytest

import equal_hf


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
        "equal_hf.training.training_rows;"
        "print(sorted({'torch', 'transformers', 'datasets', 'huggingface_hub'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


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
