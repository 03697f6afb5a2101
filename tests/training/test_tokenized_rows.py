"""Rows of a round as tokens: what SFTTrainer's own preparation makes of them, row by row."""

import copy

import pytest
from datasets import Dataset

from equal_hf.training import tokenized_rows
from equal_hf.training.tokenized_rows import tokenize_rows
from equal_hf.types import QAPair
from recipes.tiny_models import CHAT_TEMPLATE
from tests.training.test_trainer import make

MARKED = CHAT_TEMPLATE.replace(
    "'<|im_sep|>' + message['content'] + '<|im_end|>' }}",
    "'<|im_sep|>' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}",
)
PAIRS = [
    QAPair("What is 2 + 2?", "The sum is 2 + 2 = 4.", ""),
    QAPair("Where does Ada keep the mast? " * 4, "It stands beside the harbour.", ""),
    QAPair("How many apples are there? Count them: " + "one more, " * 40, "Forty.", ""),
    QAPair("Short?", "It is a long answer. " * 30, ""),
    QAPair("Empty?", "", ""),
]


@pytest.fixture(scope="module")
def trainer(world, tmp_path_factory):
    return make(world, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_length": None},
        {"max_length": 60},
        {"max_length": 60, "truncation_mode": "keep_end"},
        {"max_length": 60, "completion_only_loss": False},
        {"max_length": 60, "assistant_only_loss": True},
    ],
    ids=str,
)
def test_rows_are_those_of_sft_trainer(trainer, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setattr(trainer.args, name, value)
    if "completion_only_loss" in settings:
        monkeypatch.setattr(trainer, "completion_only_loss", False)
    if "assistant_only_loss" in settings:
        monkeypatch.setattr(trainer, "chat_template", MARKED)
    monkeypatch.setattr(tokenized_rows, "AT_A_TIME", 2)
    rows = [pair.messages() for pair in (PAIRS[:4] if "assistant_only_loss" in settings else PAIRS)]
    numbered = Dataset.from_list([{**row, "row": index} for index, row in enumerate(rows)])
    theirs = trainer._prepare_dataset(numbered, trainer.processing_class, trainer.args, False, None, "round")
    ours = tokenize_rows(trainer, rows)
    columns = ["row", "input_ids", "labels"]
    assert list(ours.dataset.select_columns(columns)) == list(theirs.select_columns(columns))
    assert ours.lost == set(range(len(rows))) - set(theirs["row"])
    limit = settings["max_length"] or 10**6
    whole = trainer._prepare_dataset(numbered, trainer.processing_class, unlimited(trainer.args), False, None, "round")
    lengths = dict(zip(whole["row"], map(len, whole["input_ids"]), strict=True))
    assert ours.cut == {row for row, length in lengths.items() if length > limit} - ours.lost
    assert settings["max_length"] is None or {2, 3} <= ours.cut | ours.lost


def test_rows_are_tokenized_many_at_a_time(trainer, monkeypatch):
    calls, tokenizer = [], trainer.processing_class
    apply = tokenizer.apply_chat_template
    monkeypatch.setattr(
        tokenizer, "apply_chat_template", lambda rows, **settings: calls.append(len(rows)) or apply(rows, **settings)
    )
    tokenize_rows(trainer, [pair.messages() for pair in PAIRS])
    assert calls == [len(PAIRS), len(PAIRS)]


def unlimited(args):
    whole = copy.copy(args)
    whole.max_length = None
    return whole
