"""A run folder with everything that could break a card, written by the library's own records."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.types import Decision, Document, QAPair, Rejection, Round, Usage

# Ends fences, tables, comments and front matter where it is not escaped.
HOSTILE = (
    '```\n---\nlicense: gpl-3.0\n---\n<script>alert(1)</script> <!-- equal-hf:end -->\n| a | \u202egpj.exe\x07 "\\'
)
SECRET = "hf_" + "s" * 34


def write_round(records: RoundRecords, index: int, pairs_per_arm: int = 2, rewarded: bool = True) -> Round:
    """One round of two arms with two documents each; arm 1's first pair is hostile."""
    arms = (index, index + 1)
    documents = {
        f"d{index}-{arm}-{n}": Document(
            f"d{index}-{arm}-{n}", f"text {arm} {n}", arm, {"license": "MIT", "source": HOSTILE}
        )
        for arm in arms
        for n in range(2)
    }
    pairs = []
    for arm in arms:
        for n in range(pairs_per_arm):
            question = HOSTILE if arm == 1 and n == 0 else f"What is {index} + {n}?"
            pairs.append(
                QAPair(
                    question,
                    f"{index + n}",
                    f"d{index}-{arm}-{n % 2}",
                    arm,
                    (0, 6),
                    "endpoint",
                    "m/big",
                    "abc",
                    "p1",
                    grade=2,
                    cost=0.25,
                )
            )
    round = Round(
        index=index,
        decisions=tuple(
            Decision(arm, float("inf") if index == 0 else 0.5 + arm, tuple(f"d{index}-{arm}-{n}" for n in range(2)))
            for arm in arms
        ),
        pairs=tuple(pairs),
        usage=Usage(100, 20, 4),
        rewards={"transport": [0.25, None]},
        rejected=(Rejection(f"d{index}-{arms[0]}-0", "duplicate", "q", "a", HOSTILE),),
        rewards_through=index - 1,
    )
    embeddings = np.zeros((len(pairs), 4), dtype=np.float32)
    usage, values = [Usage(50, 10, 2)] * 2, {"value": [0.5] * len(pairs)}
    records.write_extracted(round, embeddings, documents, usage, pair_values=values)
    if rewarded:
        write_rewards(records, index)
    return round


def write_rewards(records: RoundRecords, index: int) -> None:
    """The rewards of the round, after an evaluation."""
    rewards = {"transport": [0.25, None], "loss_drop": [0.5, 0.5]}
    record = {"rewards": rewards, "mixed": [0.75, 0.5], "metrics": {"eval_loss": 3.0 - index / 10}}
    records.write_reward_record(index, record)


def make_run(path: Path, rounds: int = 3, pairs_per_arm: int = 2, seed: int = 1, rewarded: bool = True) -> Path:
    """A run folder; its last round has rewards or not."""
    records = RoundRecords(path)
    config = {
        "corpus": "someone/corpus",
        "target": str(path / "target.parquet"),
        "seed": seed,
        "hub_token": SECRET,
        "command": ["accelerate", "launch", "recipes/mistral_math.py", "--corpus", "a b", "--hub_token", SECRET],
        "endpoint": f"http://user:{SECRET}@host:8080",
    }
    config["command"].append(f"--output_dir={path}")
    run_file = RunFile(records.run_dir)
    run_file.open({"seed": seed, "corpus": "c0ffee"}, config)
    run_file.note("corpus", {"documents": 48, "hub_id": "someone/corpus"})
    run_file.close()
    for index in range(rounds):
        write_round(records, index, pairs_per_arm, rewarded or index < rounds - 1)
    return path
