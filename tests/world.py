"""A small world for tests: documents of several kinds, a target that one kind is like, and models made from them.

Documents state their pairs outright (`Question: … Answer: …`), so that a run needs no endpoint; the arithmetic ones
are like the target, the others are about trades and places.
"""

from __future__ import annotations

import random
from pathlib import Path

from equal_hf.target import Target, TargetItem

TOPICS = {
    "arithmetic": ("sum", "product", "difference", "total"),
    "cooking": ("salt", "butter", "oven", "dough"),
    "sailing": ("mast", "harbour", "anchor", "tide"),
    "gardens": ("soil", "roses", "hedge", "seeds"),
    "railways": ("engine", "track", "signal", "station"),
}
PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jon")
GOODS = ("apples", "coins", "books", "cards", "shells", "stones")


def sum_item(rng: random.Random) -> TargetItem:
    a, b = rng.randint(2, 400), rng.randint(2, 400)
    who, what = rng.choice(PEOPLE), rng.choice(GOODS)
    return TargetItem(
        f"{who} has {a} {what} and finds {b} more {what}. What is the total of {what}?",
        f"The sum is {a} + {b} = {a + b} {what}.",
        str(a + b),
    )


def document(topic: str, number: int, rng: random.Random) -> dict[str, str]:
    """One document: some prose on the topic and two stated pairs."""
    words = TOPICS[topic]
    prose = " ".join(f"The {rng.choice(words)} of the {rng.choice(words)} is told of here." for _ in range(4))
    pairs = []
    for place in range(2):
        if topic == "arithmetic":
            item = sum_item(rng)
            question, answer = item.question, item.answer
        else:
            word = rng.choice(words)
            question = f"Where does {rng.choice(PEOPLE)} keep the {word} numbered {number}-{place}?"
            answer = f"The {word} stands beside the {rng.choice(words)}, as is usual in {topic}."
        pairs.append(f"Question: {question}\nAnswer: {answer}\n")
    return {
        "text": f"On {topic}, part {number}.\n\n{prose}\n\n" + "\n".join(pairs),
        "source": topic,
        "license": "cc0-1.0",
    }


def make_documents(per_topic: int, seed: int = 0) -> list[dict[str, str]]:
    rng = random.Random(seed)
    documents = [document(topic, number, rng) for topic in TOPICS for number in range(per_topic)]
    rng.shuffle(documents)
    return [{"id": f"doc-{place:04d}", **row} for place, row in enumerate(documents)]


def make_target(seed: int = 1) -> Target:
    rng = random.Random(seed)
    items = [sum_item(rng) for _ in range(60)]
    return Target(tuple(items[:20]), tuple(items[20:40]), tuple(items[40:]))


def build_world(folder: Path, per_topic: int = 40) -> Path:
    """Write documents, target, models and the clustered corpus under `folder`; deterministic."""
    import pandas as pd
    from datasets import Dataset

    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from recipes.tiny_models import build_embedder, build_language_model, build_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    rows = make_documents(per_topic)
    pd.DataFrame(rows).to_parquet(folder / "documents.parquet")
    target = make_target()
    for part in ("reference", "validation", "test"):
        items = [{"question": i.question, "answer": i.answer, "final": i.final} for i in getattr(target, part)]
        (folder / "target/data").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(items).to_parquet(folder / f"target/data/{part}-00000-of-00001.parquet")
    texts = [row["text"] for row in rows]
    tokenizer = build_tokenizer(texts, folder / "model", vocabulary=600)
    build_language_model(tokenizer, folder / "model", seed=0)
    build_embedder(texts, folder / "embedder", seed=0, dimension=16)
    ClusteredCorpus.build(
        Dataset.from_list(rows),
        folder / "corpus",
        embedder=str(folder / "embedder"),
        n_clusters=10,
        id_column="id",
        seed=0,
        threads=1,
        show_progress=False,
    )
    return folder
