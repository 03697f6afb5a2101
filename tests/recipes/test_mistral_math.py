"""The main recipe, as a user starts it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset

from equal_hf import EqualError
from equal_hf.cli import main
from equal_hf.errors import PublishError
from tests.processes import REPOSITORY, digests, kill_when, run, start
from tests.tracking.trackio_file import trackio_rows
from tests.tracking.wandb_file import wandb_rows
from tests.world import make_target

RECIPE = "recipes/mistral_math.py"
KEPT = (".json", "-target-chat.json", "-target-chat.jsonl")
LAUNCH = ["-m", "accelerate.commands.launch", "--config_file", "accelerate_configs/cpu.yaml", RECIPE]


@pytest.fixture(scope="module")
def config(world, tmp_path_factory):
    """A YAML on the small world, in the shape of the quickstart's."""
    settings = {
        "model_name_or_path": str(world / "model"),
        "corpus": str(world / "documents.parquet"),
        "id_column": "id",
        "embedder": str(world / "embedder"),
        "n_clusters": 10,
        "shard_documents": 20,
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "explicit",
        "control": "uniform",
        "closed_loop": True,
        "reward_funcs": ["value", "loss_drop"],
        "num_rounds": 3,
        "arms_per_round": 3,
        "documents_per_arm": 4,
        "rows_per_round": 16,
        "per_device_train_batch_size": 8,
        "learning_rate": 2.0e-3,
        "max_length": 128,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    path = tmp_path_factory.mktemp("config") / "world.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    output = run([*LAUNCH, "--config", str(config), "--output_dir", str(folder / "run")], folder / "log")
    return folder / "run", output


def test_it_ends_with_a_table_and_a_summary(finished):
    folder, output = finished
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("equal", "uniform"):
        assert summary[name]["documents"] == 36
        assert summary[name]["steps"] == 6
        assert summary[name].keys() >= {"prompt_tokens", "pairs", "test_loss", "exact_match", "wall_s"}
    assert summary["equal"]["test_loss"] < summary["uniform"]["test_loss"] < summary["untouched"]["test_loss"]
    assert summary["untouched"].keys() == {"test_loss", "exact_match", "exact_match_stderr"}
    assert re.search(r"^ +untouched +equal +uniform$", output, re.MULTILINE)
    assert summary.keys() >= {"dataset", "model", "seed"}
    assert "test_loss" in output and "round 2 (3 of 3)" in output
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def collected_first(config, tmp_path_factory):
    """A run in the default order, collected by one command and trained by the next, logged to both trackers."""
    folder = tmp_path_factory.mktemp("collected_first")
    settings = yaml.safe_load(config.read_text()) | {
        "pool_epochs": 1,
        "logging_steps": 1,
        "output_dir": str(folder / "run"),
    }
    settings |= {"reward_funcs": ["value"], "num_rounds": 2, "report_to": ["wandb", "trackio"]}
    del settings["closed_loop"], settings["rows_per_round"]
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    trackers = {"TRACKIO_DIR": str(folder / "trackio"), "WANDB_MODE": "offline"}
    assert main(["collect", str(folder / "run.yaml"), "--report_to", "none"]) == 0
    before = digests(folder / "run/rounds") | digests(folder / "run/control/rounds")
    output = run([*LAUNCH, "--config", str(folder / "run.yaml")], folder / "log", **trackers)
    assert digests(folder / "run/rounds") | digests(folder / "run/control/rounds") == before
    return folder, output


def test_by_default_all_is_collected_first_and_both_runs_train_as_many_steps(collected_first):
    folder, output = collected_first
    summary = json.loads((folder / "run/summary.json").read_text())
    assert [summary[name]["steps"] for name in ("equal", "uniform")] == [0, 0]
    assert summary["equal"]["pool_steps"] == summary["uniform"]["pool_steps"] > 0
    assert summary["equal"]["rounds"] == summary["uniform"]["rounds"] == 2
    assert {"test_loss", "exact_match", "useful_pairs"} <= summary["equal"].keys()
    assert summary["equal"]["test_loss"] < summary["untouched"]["test_loss"]
    assert "Traceback" not in output and not list((folder / "run").glob("checkpoint-*"))
    assert list((folder / "run/pool").glob("checkpoint-*"))
    assert len(load_dataset(summary["dataset"], split="train")) == summary["equal"]["pairs"]


def test_its_rounds_and_its_training_are_each_logged_once(collected_first):
    folder, _ = collected_first
    steps = json.loads((folder / "run/summary.json").read_text())["equal"]["pool_steps"]
    trackio: dict[str, list] = {}
    for name, row in trackio_rows(folder / "trackio"):
        trackio.setdefault(name, []).append(row)
    (ours,) = [rows for name, rows in trackio.items() if name.startswith("run-equal")]
    for rows in (wandb_rows(folder / "run"), ours):
        assert [row["equal/round"] for row in rows if "equal/round" in row] == [0, 1]
        assert [row["pool/global_step"] for row in rows if "pool/loss" in row] == list(range(1, steps + 1))


def test_what_was_measured_is_kept_reply_by_reply_and_told_on_the_cards(finished):
    folder, _ = finished
    names = {path.name for path in (folder / "evaluation").iterdir()}
    assert names == {f"{stage}{rest}" for stage in ("untouched", "trained") for rest in KEPT}
    assert {path.name for path in (folder / "control/evaluation").iterdir()} == {f"trained{rest}" for rest in KEPT}
    replies = load_dataset("json", data_files=str(folder / "evaluation/trained-target-chat.jsonl"), split="train")
    assert replies["question"] == [item.question for item in make_target().test]
    card = (folder / "hub/model/README.md").read_text()
    assert "|  | before training | EQUAL | uniform control |" in card
    assert re.search(r"^\| `exact_match` \|( \S+ ± \S+ \|){3}$", card, re.MULTILINE)
    assert "| before training | EQUAL | uniform control |" in (folder / "hub/dataset/README.md").read_text()


def test_dataset_and_model_open_with_the_ordinary_loaders(finished):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    pairs = load_dataset(summary["dataset"], split="train")
    assert len(pairs) == summary["equal"]["pairs"]
    assert pairs[0]["prompt"][0]["role"] == "user" and pairs[0]["completion"][0]["role"] == "assistant"
    assert {"document_id", "source", "license", "cluster", "round"} <= set(pairs.column_names)
    AutoModelForCausalLM.from_pretrained(summary["model"])
    AutoTokenizer.from_pretrained(summary["model"])


def test_a_finished_run_started_again_reports_it_and_changes_nothing(finished, config, tmp_path):
    folder, _ = finished
    before, summary = digests(folder / "rounds"), (folder / "summary.json").read_text()
    output = run([*LAUNCH, "--config", str(config), "--output_dir", str(folder)], tmp_path / "log")
    assert digests(folder / "rounds") == before
    assert (folder / "summary.json").read_text() == summary
    assert "test_loss" in output


def test_killed_while_building_and_while_training_it_ends_with_the_same_pairs(finished, config, tmp_path):
    folder, _ = finished
    again, log = tmp_path / "run", tmp_path / "log"
    arguments = [*LAUNCH, "--config", str(config), "--output_dir", str(again)]
    marks = ((5, "index/embeddings/*/*.json"), (1, "hub/model/*"), (1, "control/rounds/round-00001/extracted"))
    measured = set()
    for count, mark in marks:
        process = start(arguments, log)
        half_way = kill_when(process, lambda count=count, mark=mark: len(list(again.glob(mark))) >= count)
        assert half_way, log.read_text()[-3000:]
        measured |= {path.stat().st_mtime_ns for path in again.glob("evaluation/untouched*")}
    run(arguments, log)
    assert {path.stat().st_mtime_ns for path in again.glob("evaluation/untouched*")} == measured, "measured once"
    for part in ("rounds", "control/rounds", "hub/dataset/data"):
        assert digests(again / part) == digests(folder / part), part
    first, second = (json.loads((f / "summary.json").read_text()) for f in (folder, again))
    for name in ("untouched", "equal", "uniform"):
        for measure in ("test_loss", "exact_match"):
            assert second[name][measure] == first[name][measure]


def test_several_targets_are_told_apart_from_the_file_to_the_card(config, world, tmp_path):
    import pandas as pd

    rows = [
        {"problem": item.question, "solution": item.answer, "split": part}
        for part in ("reference", "validation", "test")
        for item in getattr(make_target(7), part)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "proofs.parquet")
    settings = yaml.safe_load(config.read_text()) | {
        "num_rounds": 2,
        "target": [str(world / "target"), str(tmp_path / "proofs.parquet")],
        "target_names": ["sums", "proofs"],
        "target_split_column": [None, "split"],
        "target_question_column": ["question", "problem"],
        "target_answer_column": ["answer", "solution"],
        "target_weights": [3.0, 1.0],
        "exact_match_forms": ["chat", "few_shot"],
        "exact_match_items": 7,
        "exact_match_new_tokens": 9,
        "exact_match_shots": 2,
        "measure_untouched": False,
    }
    del settings["control"]
    (tmp_path / "several.yaml").write_text(yaml.safe_dump(settings))
    folder = tmp_path / "run"
    arguments = ["-m", "torch.distributed.run", "--nproc_per_node", "2", RECIPE]
    arguments += ["--config", str(tmp_path / "several.yaml"), "--output_dir", str(folder)]
    output = run(arguments, tmp_path / "log")
    equal = json.loads((folder / "summary.json").read_text())["equal"]
    assert equal["test_loss"] == pytest.approx(0.75 * equal["test_loss_sums"] + 0.25 * equal["test_loss_proofs"])
    assert equal["exact_match"] == equal["exact_match_sums"]  # the other's items have no final result
    measures = (
        "test_loss",
        "test_loss_sums",
        "test_loss_proofs",
        "exact_match_sums",
        "exact_match_flexible_sums_stderr",
    )
    for name in measures:
        assert name in output
    rows = [json.loads(line) for line in (folder / "evaluation/trained-sums-few_shot.jsonl").read_text().splitlines()]
    assert len(rows) == 7 and {"found_strict", "right_flexible"} <= rows[0].keys()
    assert all(row["tokens"] <= 9 for row in rows) and "untouched" not in json.loads(
        (folder / "summary.json").read_text()
    )
    card = (folder / "hub/dataset/README.md").read_text()
    for text in ("for the tasks `", "`value_sums` reward", "`value_proofs` reward", "of `sums`", "`test_loss_proofs`"):
        assert text in card, text
    decisions = load_dataset(str(folder / "hub/dataset"), "decisions", split="train")
    assert {"reward_value_sums", "reward_value_proofs"} <= set(decisions.column_names)


def test_on_two_ranks(config, tmp_path):
    arguments = ["-m", "torch.distributed.run", "--nproc_per_node", "2", RECIPE, "--config", str(config)]
    arguments += ["--output_dir", str(tmp_path / "run"), "--report_to", "wandb"]
    output = run(arguments, tmp_path / "log", WANDB_MODE="offline")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["equal"]["documents"] == 36
    assert output.count("round 2 (3 of 3)") == 2  # one for each of the two runs, from one rank
    for folder in (tmp_path / "run", tmp_path / "run/control"):
        assert len(list(folder.glob("wandb/offline-run-*"))) == 1, "one run of several ranks"


def test_the_real_recipe_says_what_is_missing_before_it_loads_anything(tmp_path):
    process = start([RECIPE, "--output_dir", str(tmp_path / "run")], tmp_path / "log")
    assert process.wait(120) == 1
    output = (tmp_path / "log").read_text()
    assert "Traceback" not in output, output
    for word in ("nobody listens", "`extractor_url`", "no access to `model_name_or_path`"):
        assert word in output, output
    assert not (tmp_path / "run" / "rounds").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text_column", "body"], "no column 'body'"),
        (["--n_clusters", "100000"], "`n_clusters`"),
        (["--target_test_split", "exam"], "`target_test_split`"),
        (["--min_characters", "999999"], "too_short"),
        (["--extractor", "endpoint", "--extractor_url", "http://127.0.0.1:9"], "`extractor_url`"),
        (["--n_cluster", "3"], "did you mean `n_clusters`"),
        (["--corpus", "/nowhere/at/all"], "`corpus`"),
    ],
)
def test_bad_input_is_one_clear_message(config, tmp_path, flags, message):
    from recipes.mistral_math import main

    with pytest.raises(EqualError, match=message):
        main(["--config", str(config), "--output_dir", str(tmp_path / "run"), *flags])
    assert not (tmp_path / "run" / "rounds").exists()


def test_another_configuration_in_the_same_folder_is_refused(finished, config):
    from recipes.mistral_math import main

    folder, _ = finished
    before = digests(folder / "rounds")
    with pytest.raises(EqualError, match="documents_per_arm: 4 → 5"):
        main(["--config", str(config), "--output_dir", str(folder), "--documents_per_arm", "5"])
    assert digests(folder / "rounds") == before


def test_a_finished_run_goes_on_when_its_limit_is_raised(finished, config, tmp_path, capsys):
    from recipes.mistral_math import main

    folder, _ = finished
    shutil.copytree(folder, tmp_path / "run")
    before = digests(folder / "rounds")
    main(["--config", str(config), "--output_dir", str(tmp_path / "run"), "--num_rounds", "4"])
    after = digests(tmp_path / "run" / "rounds")
    assert {name: after[name] for name in before} == before
    assert (tmp_path / "run" / "rounds" / "round-00003" / "rewards.json").exists()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for name in ("equal", "uniform"):
        assert (summary[name]["rounds"], summary[name]["documents"], summary[name]["steps"]) == (4, 48, 8)
    first = json.loads((folder / "summary.json").read_text())
    assert summary["equal"]["test_loss"] != first["equal"]["test_loss"]
    assert len(load_dataset(summary["dataset"], split="train")) == summary["equal"]["pairs"]
    # The earlier, smaller limit is below what is spent now.
    with pytest.raises(EqualError, match="`num_rounds` was 4 and is 3 now"):
        main(["--config", str(config), "--output_dir", str(tmp_path / "run")])


def test_a_run_stops_once_for_a_review_and_ends_as_one_that_did_not(finished, config, tmp_path, capsys):
    from recipes.mistral_math import main

    arguments = ["--config", str(config), "--output_dir", str(tmp_path / "run"), "--review_after", "2"]
    main(arguments)
    shown = capsys.readouterr().out
    assert "The run has stopped for its review" in shown and "Best: worth most to the target (10)" in shown
    assert len(list((tmp_path / "run" / "rounds").iterdir())) == 2
    assert not (tmp_path / "run" / "result.json").exists() and not (tmp_path / "run" / "control").exists()
    main(arguments)
    assert "test_loss" in capsys.readouterr().out
    assert digests(tmp_path / "run" / "rounds") == digests(finished[0] / "rounds")
    summaries = [
        json.loads((folder / "summary.json").read_text())["equal"] for folder in (tmp_path / "run", finished[0])
    ]
    assert summaries[0]["test_loss"] == summaries[1]["test_loss"]


def test_the_real_recipes_yaml_is_valid():
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.cli.index_arguments import parse_index
    from equal_hf.cli.parse_config import parse_config
    from equal_hf.training.config import EqualConfig

    flags = ["--use_cpu", "--report_to", "none"]
    for path in (REPOSITORY / "recipes").glob("*.yaml"):
        if path.name.startswith("cluster_"):
            parse_index(str(path), [])
        else:
            parse_config((RunArguments, EqualConfig, ModelConfig), ["--config", str(path), *flags], default="unused")


def test_the_same_road_over_http(config, tmp_path):
    from tests.servers import spawn

    settings = yaml.safe_load(config.read_text()) | {"num_rounds": 2, "arms_per_round": 2, "documents_per_arm": 3}
    settings["reward_funcs"] = ["transport"]
    del settings["control"]
    (tmp_path / "http.yaml").write_text(yaml.safe_dump(settings))
    output_dir = tmp_path / "run"
    with spawn("tests.servers.tgi") as url:
        flags = ["--extractor", "endpoint", "--extractor_url", url, "--extractor_max_new_tokens", "200"]
        arguments = [RECIPE, "--config", str(tmp_path / "http.yaml"), "--output_dir", str(output_dir), *flags]
        run(arguments, tmp_path / "log")
    summary = json.loads((output_dir / "summary.json").read_text())
    assert summary["equal"]["documents"] == 12
    assert summary["equal"]["pairs"] > 0
    rows = load_dataset(summary["dataset"], split="train")
    assert set(rows["method"]) == {"endpoint"} and all(rows["prompt_hash"]) and all(rows["model"])
    # What makes the run again lies beside its data.
    published = Path(summary["dataset"])
    assert "{{ document" in (published / "prompt.jinja").read_text()
    again = yaml.safe_load((published / "equal.yaml").read_text())
    assert again["extractor_max_new_tokens"] == 200 and again["num_rounds"] == 2 and "output_dir" not in again
    assert str(tmp_path) not in (published / "equal.yaml").read_text()
    assert (output_dir / "responses.sqlite").exists()


@pytest.fixture
def hub():
    from tests.servers.hub import HubServer

    with HubServer() as server:
        yield server


def test_it_publishes_as_it_goes(config, tmp_path, hub):
    settings = yaml.safe_load(config.read_text()) | {"num_rounds": 2}
    del settings["control"]
    (tmp_path / "push.yaml").write_text(yaml.safe_dump(settings))
    flags = ["--push_to_hub", "--hub_model_id", "tester/model", "--hub_dataset_id", "tester/pairs"]
    arguments = [RECIPE, "--config", str(tmp_path / "push.yaml"), "--output_dir", str(tmp_path / "run"), *flags]
    run(arguments, tmp_path / "log", **hub.env(tmp_path / "home"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    code = (
        "from datasets import load_dataset; from huggingface_hub import HfApi, ModelCard;"
        "print(ModelCard.load('tester/model').content);"
        "print(len(load_dataset('tester/pairs', split='train')), *HfApi().list_repo_files('tester/model'))"
    )
    *card, last = hub.python(code, home=tmp_path / "home").splitlines()
    rows, *files = last.split()
    places = [card.index(line) for line in ("# Model Card for model", "## Results", "## Training procedure")]
    assert places == sorted(places) and "- tester/pairs" in card and not [line for line in card if "None" in line]
    assert int(rows) == summary["equal"]["pairs"]
    assert {"model.safetensors", "README.md", "tokenizer.json"} <= set(files)
    assert not [name for name in files if "rounds" in name or "responses" in name or "corpus" in name]


def test_a_hub_that_refuses_at_the_end_takes_nothing_away(caplog):
    from equal_hf.cli.drive import pushing

    with pushing("model", "hf upload me/model hub/model"):
        raise PublishError("it is away")
    assert "The model was not pushed: it is away. To push it later: hf upload me/model hub/model" in caplog.text


def test_a_token_that_may_only_read_is_found_out_before_the_run(config, tmp_path, hub):
    flags = ["--push_to_hub", "--hub_model_id", "tester/model", "--hub_dataset_id", "tester/pairs"]
    arguments = [RECIPE, "--config", str(config), "--output_dir", str(tmp_path / "run"), *flags]
    process = start(arguments, tmp_path / "log", **hub.env(tmp_path / "home", "hf_read"))
    assert process.wait(120) == 1
    output = (tmp_path / "log").read_text()
    assert "may only read" in output and "Traceback" not in output
    assert not (tmp_path / "run" / "rounds").exists()
