"""Benchmarks that a run is kept apart from: how they are named, and read from files."""

import json

import pytest

from equal_hf.collection.config import CollectorConfig
from equal_hf.errors import ConfigError, CorpusError
from equal_hf.filters.benchmarks import Benchmark, benchmark_texts
from equal_hf.filters.build import build_filters
from equal_hf.types import Document, QAPair

QUESTION = "How many marbles does Ravi own after he gives nine of his forty marbles to each of three friends?"


@pytest.fixture
def exam(tmp_path):
    path = tmp_path / "exam.jsonl"
    rows = [{"question": QUESTION, "solution": "13", "number": 1}, {"question": None, "solution": "", "number": 2}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cais/mmlu", Benchmark("cais/mmlu", None, "test", "question")),
        ("cais/mmlu@all", Benchmark("cais/mmlu", "all", "test", "question")),
        ("openai/gsm8k@main:train[:10]:answer", Benchmark("openai/gsm8k", "main", "train[:10]", "answer")),
        ("a/b:validation:text", Benchmark("a/b", None, "validation", "text")),
        ("missing.parquet:train:text", Benchmark("missing.parquet", None, "train", "text")),
    ],
)
def test_names(text, expected):
    assert Benchmark.parse(text) == expected


@pytest.mark.parametrize("text", ["", ":test", "a/b:", "a/b@:test", "@main", "a:b:c:d"])
def test_names_that_say_too_little_or_too_much(text):
    with pytest.raises(ConfigError, match="decontaminate_against"):
        Benchmark.parse(text)


def test_a_file_is_read_and_its_questions_kept_out(exam):
    assert list(benchmark_texts([str(exam)]).values()) == [[QUESTION]]
    assert benchmark_texts([f"{exam}:train:solution"]) == {f"{exam.name}:train:solution": ["13"]}
    config = CollectorConfig(num_rounds=1, filters=["contaminated"], decontaminate_against=[str(exam)])
    [filter], [bare] = build_filters(config), build_filters(CollectorConfig(num_rounds=1, filters=["contaminated"]))
    document = Document("d", "")
    assert filter.check(QAPair(f"Now, {QUESTION.lower()}", "13", "d"), document) == "contaminated"
    assert filter.check(QAPair("How many marbles are there?", "13", "d"), document) is None
    assert filter.identity() != bare.identity()


def test_what_is_missing_is_named(exam):
    with pytest.raises(ConfigError, match=r"no column 'answer'.*question, solution, number"):
        benchmark_texts([f"{exam}:train:answer"])
    with pytest.raises(ConfigError, match=r"'number' .* holds no text"):
        benchmark_texts([f"{exam}:train:number"])
    with pytest.raises(CorpusError, match="decontaminate_against"):
        benchmark_texts([str(exam.with_name("other.jsonl"))])
