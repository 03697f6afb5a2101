"""The YAML of a recipe: unknown keys, wrong values and missing files are named."""

import pytest
from trl import ModelConfig

from equal_hf.arguments import RunArguments, parse_config
from equal_hf.errors import ConfigError
from equal_hf.training_config import EqualConfig

KINDS = (RunArguments, EqualConfig, ModelConfig)
GOOD = "corpus: c\ntarget: t\nnum_rounds: 3\nuse_cpu: true\nreport_to: none\nbf16: false\n"


def parse(tmp_path, text, *flags):
    (tmp_path / "run.yaml").write_text(text)
    return parse_config(KINDS, ["--config", str(tmp_path / "run.yaml"), *flags], default="unused.yaml")


def test_flags_win_over_the_file(tmp_path):
    run, args, _ = parse(tmp_path, GOOD, "--num_rounds", "5", "--extractor", "explicit")
    assert (run.corpus, run.extractor, args.planned_rounds) == ("c", "explicit", 5)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (GOOD + "num_clusters: 5\n", [], "unknown key 'num_clusters'.*did you mean `n_clusters`"),
        (GOOD + "zzzz: 5\n", [], "unknown key 'zzzz'.*remove it"),
        (GOOD, ["--corpsu", "x"], "unknown flag '--corpsu'.*`corpus`"),
        ("corpus: c\nnum_rounds: 1\nuse_cpu: true\n", [], "`target` is not set"),
        (GOOD.replace("3", "0"), [], "`num_rounds` is 0"),
        (GOOD + "feedback_lag: 2\n", [], "`feedback_lag` is 2"),
        (GOOD + "control: random\n", [], "`control` is 'random'"),
        (GOOD + "reward_funcs: [transprt]\n", [], "transprt.*choose from worth"),
        (GOOD + "packing: true\n", [], "`packing` cannot be used"),
        (GOOD + "max_steps: 100\n", [], "`max_steps` cannot be used.*`num_rounds`"),
        (GOOD + "dataloader_persistent_workers: true\ndataloader_num_workers: 1\n", [], "persistent_workers"),
        (GOOD + "eval_strategy: steps\neval_steps: 5\n", [], "`eval_strategy` is 'steps'"),
        (GOOD.replace("num_rounds: 3\n", ""), [], "set `num_rounds`, or a budget"),
        ("corpus: [unclosed\n", [], "no valid YAML"),
        ("just text\n", [], "holds no settings"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, flags, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        parse(tmp_path, text, *flags)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*--config"):
        parse_config(KINDS, ["--config", str(tmp_path / "nowhere.yaml")], default="unused.yaml")


def test_a_number_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="num_rounds"):
        parse(tmp_path, GOOD.replace("num_rounds: 3", "num_rounds: many"))
