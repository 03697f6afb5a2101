"""The YAML of a recipe: unknown keys, wrong values and missing files are named."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl import ModelConfig

from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.factories import make_prompt
from equal_hf.cli.parse_config import parse_config, parse_run
from equal_hf.errors import ConfigError
from equal_hf.selection.rewards import reward_name
from equal_hf.target import target_shares, weighted_mean
from equal_hf.training.config import EqualConfig
from equal_hf.types import Decision, QAPair, Round, Usage
from equal_hf.utils.redaction import sanitise
from tests.world import make_target

KINDS = (RunArguments, EqualConfig, ModelConfig)
GOOD = "corpus: c\ntarget: t\nnum_rounds: 3\nuse_cpu: true\nreport_to: none\nbf16: false\n"


def parse(tmp_path, text, *flags):
    (tmp_path / "run.yaml").write_text(text)
    return parse_config(KINDS, ["--config", str(tmp_path / "run.yaml"), *flags], default="unused.yaml")


def test_what_was_given_is_told_apart_from_what_is_set_by_default(tmp_path):
    (tmp_path / "run.yaml").write_text(GOOD + "use_peft: true\n")
    _, args, _ = parse_run(tmp_path / "run.yaml", ["--num_rounds", "5", "--learning-rate=0.5"])
    assert args.given == {
        "corpus": "c",
        "target": ["t"],
        "num_rounds": 5,
        "use_cpu": True,
        "report_to": args.report_to,
        "bf16": False,
        "use_peft": True,
        "learning_rate": 0.5,
    }


def test_grades_go_by_items_of_the_references_only(tmp_path):
    """A seeded few, of several targets in turn, besides those that are shown as examples anyway."""
    targets = {"a": make_target(), "b": make_target(seed=2)}
    reference = {(item.question, item.answer) for target in targets.values() for item in target.reference}
    run, *_ = parse(tmp_path, GOOD + "extractor_grade: true\n")
    prompt = make_prompt(run, targets, 42)
    assert (prompt.grade, prompt.examples, len(prompt.grade_items)) == (True, (), 4)
    assert set(prompt.grade_items) <= reference
    assert make_prompt(run, targets, 42) == prompt != make_prompt(run, targets, 43)
    with_examples = make_prompt(replace(run, extractor_examples=3), targets, 42)
    plain = make_prompt(replace(run, extractor_examples=3, extractor_grade=False), targets, 42)
    assert with_examples.examples == plain.examples and not plain.grade
    assert len(with_examples.grade_items) == 1 and not set(with_examples.grade_items) & set(plain.examples)
    assert make_prompt(replace(run, extractor_examples=9), targets, 42).grade_items == ()


@pytest.mark.parametrize(
    ("text", "flags", "body"),
    [
        ("extractor_body: {a: 1, b: {c: x}}\n", [], {"a": 1, "b": {"c": "x"}}),
        ("", ["--extractor_body", '{"a": 1}'], {"a": 1}),
        ("", ["--extractor_body.service_tier", "flex"], {"service_tier": "flex"}),
        (
            "extractor_body: {a: 1, b: {c: x, d: 2}}\n",
            ["--extractor_body.b.c=true"],
            {"a": 1, "b": {"c": True, "d": 2}},
        ),
        ("extractor_body: {a: 1}\n", ["--extractor-body={}", "--extractor_body.b", "[1, 2]"], {"b": [1, 2]}),
        ("extractor_body: '{\"a\": 1}'\n", ["--extractor_body.b", "2"], {"a": 1, "b": 2}),
        ("", ["--extractor_body.key", "sk-Tr0ub4dor-and-3"], {"key": "sk-Tr0ub4dor-and-3"}),
    ],
)
def test_a_mapping_is_set_whole_or_by_field(tmp_path, text, flags, body):
    run, *_ = parse(tmp_path, GOOD + text, *flags)
    assert run.endpoint.extra_body == body
    assert "Tr0ub4dor" not in str(sanitise(run)), "what is recorded"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--extractor_body.messages", "[]"], "`extractor_prompt`"),
        (["--extractor_body.a"], "has no value"),
        (["--extractor_body", "{broken"], "no JSON object"),
        (["--extractor_body", "{broken", "--extractor_body.a", "1"], "no mapping, which --extractor_body.a"),
        (["--num_rounds.a", "1"], "unknown flag"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(tmp_path, flags, words):
    with pytest.raises(ConfigError, match=words):
        parse(tmp_path, GOOD, *flags)[0].endpoint  # noqa: B018


def test_flags_win_over_the_file(tmp_path):
    run, args, _ = parse(tmp_path, GOOD, "--num_rounds", "5", "--extractor", "explicit")
    assert (run.corpus, run.extractor, args.planned_rounds) == ("c", "explicit", 5)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (GOOD + "extractor_flavour: tgi\n", [], "'extractor_flavour'.*is now called `extractor_dialect`"),
        (GOOD, ["--extractor_flavour", "tgi"], "'--extractor_flavour' is now called `extractor_dialect`"),
        (GOOD + "num_clusters: 5\n", [], "unknown key 'num_clusters'.*did you mean `n_clusters`"),
        (GOOD + "zzzz: 5\n", [], "unknown key 'zzzz'.*remove it"),
        (GOOD, ["--corpsu", "x"], "unknown flag '--corpsu'.*`corpus`"),
        ("corpus: c\nnum_rounds: 1\nuse_cpu: true\n", [], "`target` is not set"),
        (GOOD.replace("3", "0"), [], "`num_rounds` is 0"),
        (GOOD + "feedback_lag: 2\n", [], "`feedback_lag` is 2"),
        (GOOD + "control: random\n", [], "`control` is 'random'"),
        (GOOD + "reward_funcs: [transprt]\n", [], "transprt.*choose from value"),
        (
            GOOD + "reward_funcs: [yield_per_cost]\n",
            [],
            "yield_per_cost.*`price_per_million_prompt_tokens`.*_per_token",
        ),
        (GOOD + "neighbours: near\n", [], "neighbours.*bures"),
        (GOOD + "pair_values: [grades]\n", [], "`pair_values` names grades: choose from nearness"),
        (GOOD + "pair_value_weights: [1.0, 2.0, 3.0]\n", [], "`pair_value_weights` has 3 values for 2 functions"),
        (GOOD.replace("target: t", "target: [null]"), [], "`target` is not set"),
        (GOOD.replace("target: t", "target: ''"), [], "`target` is not set"),
        (GOOD, ["--target", "a", "b", "c", "--target_config", "x", "y"], "`target_config` has 2 values for 3 targets"),
        (GOOD, ["--target", "x/sums", "y/sums"], "two targets are called 'sums'.*`target_names`"),
        (GOOD, ["--target", "a", "b", "--target_names", "a"], "`target_names` has 1 values for 2"),
        (GOOD, ["--target_names", "a/b"], "`target_names` holds 'a/b'"),
        (GOOD + "packing: true\n", [], "`packing` cannot be used"),
        (GOOD + "max_steps: 100\n", [], "'max_steps' in .* has no effect.*`num_rounds`"),
        (GOOD + "dataloader_persistent_workers: true\ndataloader_num_workers: 1\n", [], "persistent_workers"),
        (GOOD + "eval_strategy: steps\n", [], "`eval_strategy` is 'steps'"),
        (GOOD.replace("num_rounds: 3\n", ""), [], "set `num_rounds`, or a budget"),
        ("corpus: [unclosed\n", [], "no valid YAML"),
        (GOOD + "seed: 1\nseed: 2\n", [], "no valid YAML in line 8.*`seed` is there twice"),
        (GOOD + "1: 2\n", [], "a key of type int"),
        (GOOD + "seed: null\n", [], "`seed` is null, but a whole number is needed"),
        (GOOD + "filters: null\n", [], "`filters` is null"),
        (GOOD + "max_length: true\n", [], "`max_length` is True, but a whole number"),
        (GOOD + "learning_rate: .nan\n", [], "`learning_rate` is nan"),
        (GOOD + "learning_rate: .inf\n", [], "`learning_rate` is inf: set it to a finite number"),
        (GOOD, ["--learning_rate", "inf"], "`learning_rate` is inf: set it to a finite number"),
        (GOOD + "output_dir: ~\n", [], "`output_dir` in .* is null: name the run folder"),
        (GOOD + "n_clusters: 1.0\n", [], "`n_clusters` is 1.0, but a whole number or auto is needed"),
        (GOOD + "extractor_url: [null]\n", [], "`extractor_url` is a list of null"),
        (GOOD + "corpus_revision: 2024-01-01\n", [], "`corpus_revision` is of type date.*put it in quotes"),
        (GOOD + "env: [A]\n", [], "`env` in .* is no mapping"),
        (GOOD + "extractor_flavour: tgi\n", [], "'extractor_flavour' in .* is now called `extractor_dialect`"),
        (GOOD, ["--seed", "null"], "--seed: invalid int value: 'null'"),
        (GOOD, ["--reward_weights", "x"], "--reward_weights.* invalid float value"),
        ("just text\n", [], "holds no settings"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, flags, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        parse(tmp_path, text, *flags)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*Name a YAML file that is there"):
        parse_config(KINDS, ["--config", str(tmp_path / "nowhere.yaml")], default="unused.yaml")


def test_a_number_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="num_rounds"):
        parse(tmp_path, GOOD.replace("num_rounds: 3", "num_rounds: many"))


SEVERAL = """
target: [openai/gsm8k, you/MATH-lighteval]
target_config: [main, null]
target_question_column: [question, problem]
target_validation_split: train[:100]
target_weights: [3, 1]
"""


def test_one_target_or_several_by_file_and_by_flag_alike(tmp_path):
    one = parse(tmp_path, GOOD)[0].by_name()
    assert list(one) == ["target"] and one["target"]["source"] == "t" and one["target"]["name"] is None
    assert one["target"]["validation_split"] == "validation"
    run, args, _ = parse(tmp_path, GOOD.replace("target: t\n", "") + SEVERAL)
    assert target_shares(run.by_name(), args.target_weights) == {"gsm8k": 0.75, "MATH-lighteval": 0.25}
    gsm8k, math = run.by_name().values()
    assert (gsm8k["name"], math["name"]) == ("main", None)
    assert (gsm8k["question_column"], math["question_column"]) == ("question", "problem")
    assert gsm8k["validation_split"] == math["validation_split"] == "train[:100]"
    flags = (
        "--target openai/gsm8k you/MATH-lighteval --target_config main null --target_question_column question problem"
    )
    by_flag, *_ = parse(tmp_path, GOOD, *flags.split(), "--target_validation_split", "train[:100]")
    assert by_flag.by_name() == run.by_name()
    assert RunArguments(**vars(run)).by_name() == run.by_name()  # as it is taken from records


def test_names_of_an_earlier_version_still_work(tmp_path, caplog):
    text = GOOD + "reward_funcs: [worth, loss_credit, yield]\ndocument_order: promise\n"
    run, args, *_ = parse(tmp_path, text)
    assert run.reward_funcs == ["value", "loss_attribution", "yield"]
    assert args.document_order == "value" and "'promise' is called 'value' now" in caplog.text
    assert "'worth' is called 'value' now" in caplog.text


def test_rewards_per_cost_use_the_prices(tmp_path):
    text = GOOD + "reward_funcs: [value_per_cost, yield_per_cost]\nprice_per_million_completion_tokens: 2\n"
    run, *_ = parse(tmp_path, text)
    value, yields = run.make_rewards(run.prices)
    assert (reward_name(value), reward_name(yields)) == ("value_per_cost", "yield_per_cost")
    round = Round(0, (Decision(0, 0.0, ("a",)),), (QAPair("q", "a", "a", 0),))
    assert yields(round, arm_usage=[Usage(10**6, 10**6)]) == [0.5]


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=5), st.data())
def test_a_mean_over_targets_lies_among_them_and_takes_shares_of_those_that_are_there(weights, data):
    names = [f"t{place}" for place in range(len(weights))]
    shares = target_shares(names, weights)
    assert sum(shares.values()) == pytest.approx(1)
    values = {name: data.draw(st.floats(-5, 5)) for name in data.draw(st.sets(st.sampled_from(names), min_size=1))}
    mean = weighted_mean(values, shares)
    assert min(values.values()) - 1e-9 <= mean <= max(values.values()) + 1e-9
    total = sum(shares[name] for name in values)
    assert mean * total == pytest.approx(sum(shares[name] * value for name, value in values.items()), abs=1e-9)


def test_weights_of_targets_are_checked():
    assert weighted_mean({"a": 1.0, "b": 3.0}, {"a": 0.0, "b": 0.0, "c": 1.0}) == 2.0
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(ConfigError, match="`target_weights`"):
            target_shares(["a", "b"], weights)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("extractor_api_key: [unclosed-s3cret\n", []),
        ("corpus: c\ntarget: t\n", ["--extractor_apikey=s3cret"]),
        ("corpus: c\ntarget: t\n", ["s3cret"]),
        ("corpus: c\ntarget: t\nn_reference: many\n", ["--extractor_api_key", "s3cret"]),
    ],
)
def test_no_message_repeats_what_may_be_a_key(tmp_path, text, flags):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        parse_config((RunArguments,), ["--config", str(path), *flags], default="unused")
    assert "s3cret" not in str(error.value)


def test_a_pickle_of_the_arguments_holds_no_token(tmp_path):
    import pickle

    from equal_hf import EqualConfig

    config = EqualConfig(output_dir=str(tmp_path), num_rounds=1, use_cpu=True, bf16=False, hub_token="hf_" + "p" * 34)
    assert config.hub_token is not None and config.hub_token.encode() not in pickle.dumps(config)


@pytest.mark.parametrize("name", [*EqualConfig.without_effect])
def test_a_key_that_would_change_nothing_is_refused_in_file_flag_and_python(name, tmp_path):
    for text, flags in ((GOOD + f"{name}: 1\n", []), (GOOD, [f"--{name}", "1"]), (GOOD, [f"--{name}=1"])):
        with pytest.raises(ConfigError, match=f"{name}.* has no effect here"):
            parse(tmp_path, text, *flags)
    if name != "do_eval":  # which transformers sets itself
        with pytest.raises(ConfigError, match=f"`{name}` has no effect here"):
            EqualConfig(output_dir=str(tmp_path), num_rounds=2, use_cpu=True, bf16=False, **{name: 17})


def test_a_copied_config_is_no_change(tmp_path):
    config = EqualConfig(output_dir=str(tmp_path), num_rounds=7, use_cpu=True, bf16=False)
    config.num_train_epochs = 7.0  # as the trainer does
    assert replace(config, seed=3).seed == 3


def test_save_steps_need_a_strategy_that_reads_them(tmp_path):
    with pytest.raises(ConfigError, match="`save_steps` has no effect with `save_strategy` 'epoch'"):
        parse(tmp_path, GOOD + "save_steps: 20\n")
    assert parse(tmp_path, GOOD + "save_steps: 20\nsave_strategy: steps\n")[1].save_steps == 20


def test_one_value_where_a_list_is_meant_is_a_list_of_one_in_file_and_flag(tmp_path):
    text = GOOD + "decontaminate_against: openai/gsm8k\nfilters: lengths\nreward_funcs: value\nreward_weights: 1\n"
    text = text.replace("filters: lengths", "filters: contaminated") + "extractor_url: http://a\ntarget_names: t\n"
    run, args, _ = parse(tmp_path, text)
    assert (args.decontaminate_against, args.filters, args.reward_weights) == (["openai/gsm8k"], ["contaminated"], [1])
    assert (run.reward_funcs, run.endpoint.url, run.target_names) == (["value"], ["http://a"], ["t"])
    flags = "--decontaminate_against openai/gsm8k --reward_funcs value --reward_weights 1 --extractor_url http://a"
    by_flag, by_flag_args, _ = parse(tmp_path, GOOD, *flags.split())
    assert (by_flag_args.decontaminate_against, by_flag.reward_funcs) == (["openai/gsm8k"], ["value"])
    assert (by_flag_args.reward_weights, by_flag.endpoint.url) == ([1.0], ["http://a"])


def test_texts_that_yaml_takes_for_something_else_are_read_as_meant(tmp_path):
    run, args, _ = parse(tmp_path, GOOD + "learning_rate: 1e-4\ncorpus_revision: 1234567\nn_clusters: 12\n")
    assert (args.learning_rate, run.corpus_revision, run.clusters) == (1e-4, "1234567", 12)
