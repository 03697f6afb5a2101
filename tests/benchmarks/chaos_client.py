"""What `chaos` kills: a collector run over a corpus made for it, to run in a process of its own."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

from tests.world import GOODS, PEOPLE, TOPICS, make_target

# What a first attempt ends with, so that the server can tell it from asking again.
MARK = "END OF THE TASK"
PROMPT = f"""\
List the questions and answers of the document between the lines `{{{{ fence }}}}` as JSON, {{"pairs": [...]}}.

{{{{ fence }}}}
{{{{ document }}}}
{{{{ fence }}}}

{MARK}"""
MAX_NEW_TOKENS = 192
TIMEOUT_S = 3.0
CONCURRENCY = 32
# Imported before a client is forked, so that a client is there at once.
PRELOAD = ["tests.benchmarks.chaos_client", "datasets", "faiss", "huggingface_hub", "httpx2", "sentence_transformers"]
PRELOAD += [
    "pandas",
    "pyarrow.parquet",
    "scipy.sparse",
    "sklearn.utils.extmath",
    "equal_hf.extraction.endpoint_extractor",
]


def make_documents(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Documents of five topics, one of them like the target; no two state the same pair."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        topic = rng.choice(list(TOPICS))
        words = TOPICS[topic]
        prose = " ".join(f"The {rng.choice(words)} of the {rng.choice(words)} is told of here." for _ in range(4))
        text = f"Document number {number}. On {topic}.\n\n{prose}\n\n"
        for place in range(2):
            who, what = rng.choice(PEOPLE), rng.choice(GOODS)
            if topic == "arithmetic":
                a, b = rng.randint(2, 400), rng.randint(2, 400)
                question = (
                    f"In case {number}-{place}, {who} has {a} {what} and finds {b}. What is the total of {what}?"
                )
                answer = f"The sum is {a} + {b} = {a + b} {what}."
            else:
                word = rng.choice(words)
                question = f"Where does {who} keep the {word} numbered {number}-{place}?"
                answer = f"The {word} stands beside the {rng.choice(words)}, as is usual in {topic}."
            text += f"Question: {question}\nAnswer: {answer}\n"
        rows.append({"id": f"doc-{number:05d}", "text": text, "source": topic, "license": "cc0-1.0"})
    return rows


def build(folder: Path, count: int, marks: tuple[str, str] = ("Question: ", "Answer: ")) -> None:
    """Write embedder and clustered corpus under a folder; `marks` stand before questions and answers."""
    from datasets import Dataset

    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from recipes.tiny_models import build_embedder

    rows = make_documents(count)
    for row in rows:
        row["text"] = row["text"].replace("Question: ", marks[0]).replace("Answer: ", marks[1])
    build_embedder([row["text"] for row in rows], folder / "embedder", seed=0, dimension=16)
    ClusteredCorpus.build(
        Dataset.from_list(rows),
        folder / "corpus",
        embedder=str(folder / "embedder"),
        n_clusters=max(2, min(10, count // 10)),
        id_column="id",
        seed=0,
        threads=1,
        show_progress=False,
    )


def collect(url: str, folder: Path, output: Path, settings: dict[str, Any]) -> None:
    """Run a collector to its end, or on from where it was killed."""
    from equal_hf import ClusteredCorpus, CollectorConfig, EndpointExtractor, EqualDataCollector
    from equal_hf.extraction.prompts.template import PromptTemplate

    endpoint = EndpointExtractor(
        url,
        prompt=PromptTemplate(PROMPT),
        max_new_tokens=MAX_NEW_TOKENS,
        concurrency=CONCURRENCY,
        timeout_s=TIMEOUT_S,
        max_retries=10,
        store=output / "responses.sqlite",
    )
    collector = EqualDataCollector(
        ClusteredCorpus.load(folder / "corpus"),
        endpoint,
        args=CollectorConfig(output_dir=str(output), **settings),
        reference=make_target().reference,
    )
    for _ in collector.rounds():
        pass
    collector.close()
    endpoint.close()


def in_process(log: Path, function: Any, *arguments: Any) -> None:
    """Run a function with everything that it prints in a file."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and a kill would leave it behind
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    function(*arguments)
