"""The card says what the run says, holds no secret, survives hostile text, and keeps what a person wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.filters.reasons import REASONS as FILTER_REASONS
from equal_hf.publishing.dataset import export_dataset
from equal_hf.publishing.dataset_metadata import dataset_metadata
from equal_hf.publishing.dataset_tables import PUBLISHED_AS
from equal_hf.publishing.explanations import REASONS
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.schema import PAIR_COLUMNS
from equal_hf.records.statistics import RunStatistics
from equal_hf.utils.markdown import (
    END,
    code,
    join_front_matter,
    json_block,
    replace_generated,
    split_front_matter,
    table,
)
from tests.publishing.runs import SECRET, make_run, write_round

pytestmark = pytest.mark.usefixtures("plain")


def card_of(run: Path) -> str:
    return (export_dataset(run) / "README.md").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_the_run(run_dir: Path):
    card = card_of(run_dir)
    for line in (
        "12 question-answer pairs for instruction tuning, extracted from 12 documents of `someone/corpus`",
        "In 3 rounds a bandit chose which documents were worth extracting, from 4 clusters: after the method of",
        "| prompt tokens | 300 |",
        "| share of completion tokens in kept pairs |",
        "| requests | 12 |",
        "| share of the corpus that was not extracted | 75.0% of 48 documents |",
        "| `duplicate` | 3 | kept before |",
        "| 0 | 4 | 4 | 100 | 0.25 | 0.5 | 3 |",  # round 0 with its rewards and evaluation loss
        "| 1 | 2 | 4 | 4 | 0.625 |",  # arm 1: two pulls, mean mixed reward
        "- Models that wrote pairs: `m/big @ abc` (12).",
        "- Corpus: [someone/corpus](https://huggingface.co/datasets/someone/corpus).",
        "| `cost_paid` | money:",
        "| `reward_transport` | a reward of the cluster",
        "| `license` | licence of the document",
        "accelerate launch recipes/mistral_math.py --corpus 'a b' --hub_token '***' '--output_dir=…/run'",
    ):
        assert line in card, line


def test_every_column_of_our_own_is_explained(run_dir: Path):
    card = card_of(run_dir)
    columns = card[card.index("## Columns") : card.index("## Cost and yield")]
    assert "column of the corpus" not in columns
    for name in [
        *(PUBLISHED_AS.get(name, name) for name in PAIR_COLUMNS),
        "raw",
        "expected_value",
        "reward",
        "eval_loss",
    ]:
        assert f"`{name}`" in columns, name


def test_every_reason_of_a_filter_is_explained():
    assert not {reason for reasons in FILTER_REASONS.values() for reason in reasons} - REASONS.keys()


def test_tokens_of_a_run_that_asked_no_model_are_told_as_estimates(run_dir: Path):
    record = json.loads((run_dir / "run.json").read_text())
    record["fingerprint"]["extractor"] = {"kind": "explicit"}
    (run_dir / "run.json").write_text(json.dumps(record))
    card = card_of(run_dir)
    assert (
        "| prompt tokens (estimated) | 300 |" in card
        and "No model was asked" in card
        and "| requests | 12 |" not in card
    )


def test_without_a_control_nothing_is_said_to_be_compared(run_dir: Path):
    measures = {"documents": 12, "test_loss": 2.5, "pool_steps": 0, "wall_s": 9.0}
    (run_dir / "summary.json").write_text(json.dumps({"equal": measures}))
    card = card_of(run_dir)
    assert "## Results\n\nNo control with uniform selection was run." in card and "Comparison" not in card
    assert "| `test_loss` | 2.5 |" in card and "- `test_loss`: mean loss" in card
    assert "`wall_s`" not in card and "`pool_steps`" not in card
    (run_dir / "summary.json").write_text(json.dumps({"equal": measures, "uniform": measures}))
    assert "## Comparison with uniform sampling\n\nThe control drew documents uniformly" in card_of(run_dir)


def test_huggingface_hub_reads_the_metadata(run_dir: Path):
    data = DatasetCard(card_of(run_dir)).data.to_dict()
    assert data["license"] == "mit"
    assert data["source_datasets"] == ["someone/corpus"]
    assert data["size_categories"] == ["n<1K"]
    assert data["tags"] == ["equal-hf", "trl", "synthetic"]
    assert [config["config_name"] for config in data["configs"]] == ["default", "rejected", "decisions"]


def test_hostile_text_changes_nothing_around_it(run_dir: Path):
    card = card_of(run_dir)
    metadata, body = split_front_matter(card)
    assert metadata["license"] == "mit"
    assert card.count("\n---\n") == 1
    assert "<script" not in body and "\\u003cscript>alert(1)" in body, "the sample shows it, harmless"
    assert body.count(END) == 1 and body.rstrip().endswith(END)
    assert "\u202e" not in card and "\x07" not in card
    fences = [line for line in body.splitlines() if line.startswith("```")]
    assert len(fences) % 2 == 0 and len(fences) == 12, "code, command, samples, run, settings, citation"


def test_no_secret_and_no_folder_of_this_machine(run_dir: Path):
    card = card_of(run_dir)
    assert SECRET not in card
    assert str(run_dir) not in card
    assert "…/target.parquet" in card


def test_what_a_person_writes_stays(run_dir: Path):
    folder = export_dataset(run_dir)
    metadata, body = split_front_matter((folder / "README.md").read_text())
    metadata |= {"license": "cc-by-4.0", "pretty_name": "Mine"}
    edited = join_front_matter(metadata, "My words before.\n" + body + "\nMy words after.\n")
    (folder / "README.md").write_text(edited)
    write_round(RoundRecords(run_dir), 3)
    card = card_of(run_dir)
    metadata, body = split_front_matter(card)
    assert (metadata["license"], metadata["pretty_name"]) == ("cc-by-4.0", "Mine")
    assert body.startswith("My words before.") and body.endswith("\nMy words after.\n")
    assert "16 question-answer pairs" in body and "12 question-answer pairs" not in body
    assert card_of(run_dir) == card


def test_a_configuration_without_rows_is_not_listed():
    stats = RunStatistics(run={"fingerprint": {}, "config": {}})
    assert [config["config_name"] for config in dataset_metadata(stats)["configs"]] == ["default", "decisions"]
    stats.rejected["duplicate"] += 1
    assert [config["config_name"] for config in dataset_metadata(stats)["configs"]] == [
        "default",
        "rejected",
        "decisions",
    ]


def test_metadata_tells_only_what_is_known():
    stats = RunStatistics(run={"fingerprint": {}, "config": {"corpus": "data/documents"}, "corpus": {"hub_id": None}})
    assert not {"license", "language", "source_datasets", "dataset_info"} & dataset_metadata(stats).keys()
    stats.languages.update(["en", "en"])
    assert dataset_metadata(stats)["language"] == ["en"]


def licensed(tmp_path: Path, licences: list[str | None], folder: str = "run") -> tuple[dict, str]:
    """Metadata and text of the card of a run whose documents state these licences in turn."""
    run = make_run(tmp_path / folder, rounds=1)
    path = run / "rounds" / "round-00000" / "extracted" / "pairs.parquet"
    table = pq.read_table(path)
    column = pa.array([licences[place % len(licences)] for place in range(len(table))], pa.string())
    table = table.set_column(table.schema.get_field_index("license"), "licence", column)
    pq.write_table(table.set_column(table.schema.get_field_index("source"), "url", pa.array(URLS)), path)
    return split_front_matter(card_of(run))


URLS = ["https://a.org/1", "https://b.org/2", "https://a.org/3", None]


def test_the_licence_of_the_card_follows_from_those_of_the_documents(tmp_path: Path):
    metadata, body = licensed(tmp_path, ["CC BY-SA 4.0"])
    assert metadata["license"] == "cc-by-sa-4.0" and "license_name" not in metadata
    assert "| `cc-by-sa-4.0` | 4 | 100.0% | `a.org`, `b.org` |" in body
    for part in (
        "**Attribution.**",
        "| `a.org` | [`cc-by-sa-4.0`](https://creativecommons.org/licenses/by-sa/4.0/) | 2 |",
        "Of 1 more the source",
        "**Share-alike.** 4 pairs",
    ):
        assert part in body, part
    metadata, body = licensed(tmp_path, ["MIT License", None, "mit", "House licence"], "several")
    assert (metadata["license"], metadata["license_name"]) == ("other", "several-licences")
    assert "**1 of 4 pairs** (25.0%) come from documents for which the corpus states no licence" in body
    for part in ("| `mit` | 2 | 50.0% |", "| `House licence` | 1 | 25.0% |", "| not stated | 1 | 25.0% |"):
        assert part in body, part
    assert "**Attribution.** No licence that is stated asks" in body
    assert "**Share-alike.** No licence that is stated asks for it." in body
    assert "**Notices.** 2 pairs are of documents under `mit`:" in body
    for part in ("**Personal data.**", "**Opt-out.**", "**Take-down.**", "**Models.**"):
        assert body.count(part) == 1, part
    assert "license_link" not in metadata, "the Hub takes an address, and this folder has none yet"
    metadata, _ = licensed(tmp_path, [None], "unstated")
    assert (metadata["license"], metadata["license_name"]) == ("other", "not-stated")


def test_a_persons_licence_stays_without_the_name_of_ours(tmp_path: Path):
    licensed(tmp_path, ["mit", None])
    folder = tmp_path / "run" / "hub" / "dataset"
    metadata, body = split_front_matter((folder / "README.md").read_text())
    assert metadata["license_name"] == "several-licences"
    metadata = {key: value for key, value in metadata.items() if key != "license_link"} | {"license": "mit"}
    (folder / "README.md").write_text(join_front_matter(metadata, body))
    metadata, _ = split_front_matter(card_of(tmp_path / "run"))
    assert metadata["license"] == "mit" and not {"license_name", "license_link"} & metadata.keys()


def test_a_long_run_shows_some_rounds_and_says_so(tmp_path: Path):
    card = card_of(make_run(tmp_path / "run", rounds=45, pairs_per_arm=1))
    assert "40 of 45 are shown" in card
    assert "\n| 0 | 4 |" in card and "\n| 44 | 4 |" in card
    assert "## The 15 arms pulled most" in card


@given(st.text())
def test_inline_code_is_one_cell_on_one_line(text: str):
    row = table(["a", "b"], [[code(text), "end"]]).split("\n")[2:]
    assert len(row) == 1
    assert len(re.split(r"(?<!\\)\|", row[0])) == 4
    if shown := code(text):
        fence = re.match("`+", shown)[0]
        assert shown.endswith(fence)
        assert fence not in re.findall("`+", shown[len(fence) : -len(fence)])


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
)
def test_a_json_block_has_one_fence_and_no_markup(value: object):
    lines = json_block(value).split("\n")
    assert lines[0] == "```json" and lines[-1] == "```"
    assert not any(line.lstrip().startswith(("```", "~~~", "---")) for line in lines[1:-1])
    assert "<" not in "".join(lines)


@given(st.dictionaries(st.sampled_from(["license", "x", "title"]), st.text(st.characters(codec="utf-8"))), st.text())
def test_front_matter_comes_back(metadata: dict, body: str):
    body = "\n" + body.replace("\r", "")
    if metadata:
        found, rest = split_front_matter(join_front_matter(metadata, body))
        assert (found, rest) == (yaml.safe_load(yaml.safe_dump(metadata)), body)


@pytest.mark.parametrize(
    "text", ["", "no metadata", "---\n[1, 2]\n---\nbody", "---\na: [\n---\nbody", "---\nnever ends"]
)
def test_a_card_without_readable_metadata_is_all_body(text: str):
    assert split_front_matter(text) == ({}, text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_generated_text_is_replaced_whatever_it_says(generated: str):
    safe = generated.replace("<", "")
    body = replace_generated("before", "first")
    assert replace_generated(replace_generated(body, safe), "first") == body


def test_the_card_of_uniform_sampling_says_so(run_dir: Path):
    assert "# Question-answer pairs selected by EQUAL" in card_of(run_dir)
    record = json.loads((run_dir / "run.json").read_text())
    record["fingerprint"]["bandit"] = {"policy": "uniform"}
    (run_dir / "run.json").write_text(json.dumps(record))
    card = card_of(run_dir)
    assert "documents were drawn uniformly at random" in card and "a bandit chose" not in card
    assert "selected by EQUAL" not in card
