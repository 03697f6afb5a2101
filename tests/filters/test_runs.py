"""Filters inside a run: what they turn down is on record, and they are part of what the run is."""

import json

import pyarrow.parquet as pq
import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor
from equal_hf.cli import main
from equal_hf.errors import ResumeError
from equal_hf.filters.reasons import FILTERS
from equal_hf.publishing.dataset import export_dataset
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from tests.world import make_target


@pytest.fixture(scope="module")
def corpus(world):
    return ClusteredCorpus.load(world / "corpus")


def make(corpus, folder, **settings):
    args = CollectorConfig(output_dir=str(folder), num_rounds=2, arms_per_round=2, documents_per_arm=4, **settings)
    return EqualDataCollector(corpus, ExplicitExtractor(), args=args, reference=make_target().reference)


def test_what_filters_turn_down_is_recorded_and_shown(corpus, tmp_path, capsys):
    collector = make(corpus, tmp_path, max_question_characters=70)
    rounds = list(collector.rounds())
    collector.close()
    kept = [pair for round in rounds for pair in round.pairs]
    rejected = [item for round in rounds for item in round.rejected]
    assert kept and all(len(pair.question) <= 70 for pair in kept)
    assert {item.reason for item in rejected} == {"question_too_long"}
    assert all(len(item.question) > 70 and item.answer for item in rejected)
    assert [RoundRecords(tmp_path).load(round.index).rejected for round in rounds] == [r.rejected for r in rounds]
    assert main(["inspect", str(tmp_path), "--json", "--reason", "question_too_long", "--samples", "1"]) == 0
    [stage] = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["seen"], stage["passed"]) == (len(kept) + len(rejected), len(kept))


def test_a_change_of_filters_is_a_change_of_run(corpus, tmp_path):
    collector = make(corpus, tmp_path)
    collector.open()
    collector.close()
    assert list(RunFile(tmp_path).read()["fingerprint"]["filters"]) == list(FILTERS)
    with pytest.raises(ResumeError, match=r"filters\.grounding\.min_grounding: 0\.15 → 0\.5"):
        make(corpus, tmp_path, min_grounding=0.5).open()
    with pytest.raises(ResumeError, match=r"filters\.language: .* → null"):
        make(corpus, tmp_path, filters=[name for name in FILTERS if name != "language"]).open()
    make(corpus, tmp_path).open()


def test_a_benchmarks_items_are_in_no_file_of_a_run_but_the_store(corpus, tmp_path):
    first = make(corpus, tmp_path / "first")
    questions = [pair.question for round in first.rounds() for pair in round.pairs]
    first.close()
    (tmp_path / "exam.jsonl").write_text(
        "".join(json.dumps({"question": question}) + "\n" for question in questions[:3])
    )
    collector = make(corpus, tmp_path / "run", decontaminate_against=[str(tmp_path / "exam.jsonl")])
    rejected = [item for round in collector.rounds() for item in round.rejected if item.reason == "contaminated"]
    collector.close()
    assert len(rejected) >= 3
    assert all(item.question.startswith("withheld: repeats an item of exam.jsonl:train:question") for item in rejected)
    dataset = export_dataset(tmp_path / "run")
    tables = [*(tmp_path / "run/rounds").rglob("*.parquet"), *dataset.rglob("*.parquet")]
    assert any("rejected" in path.parts for path in tables)
    for path in tables:
        text = json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False)
        assert not [question for question in questions[:3] if json.dumps(question)[1:-1] in text]
