"""The quickstart's inputs: real, loadable, clean, the same every time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import quickstart_assets

from equal_hf.errors import MissingDependencyError
from equal_hf.filters.contaminated import Decontaminator
from equal_hf.filters.normalise import normalise


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def documents(assets: Path):
    from datasets import load_dataset

    return load_dataset(str(assets), data_files="documents.parquet", split="train")


@pytest.fixture(scope="module")
def target(assets: Path):
    from datasets import load_dataset

    return load_dataset(str(assets / "target"))


def test_documents_say_where_they_come_from(documents):
    assert documents.column_names == ["id", "text", "source", "license", "package"]
    assert len(documents) == len(set(documents["id"])) == len(set(documents["text"])) == 600
    assert min(map(len, documents["text"])) >= 300
    assert set(documents["package"]) == {"sympy", "mpmath", "networkx"}
    assert [source.split("==")[0] for source in documents["source"]] == documents["package"][:]
    assert set(documents["license"]) == {"BSD", "BSD-3-Clause"}


def test_the_target_is_split_by_document(target):
    assert {split: len(items) for split, items in target.items()} == quickstart_assets.SPLITS
    sources = {split: set(items["document_id"]) for split, items in target.items()}
    assert not sources["reference"] & sources["validation"]
    assert not sources["reference"] & sources["test"]
    assert not sources["validation"] & sources["test"]
    for items in target.values():
        assert {name.split(".")[1] for name in items["document_id"]} <= set(quickstart_assets.TARGET_MODULES)
        assert max(map(len, items["question"])) <= quickstart_assets.MAX_QUESTION_CHARACTERS
        assert min(map(len, items["answer"])) > 0
    pairs = [(normalise(row["question"]), normalise(row["answer"])) for items in target.values() for row in items]
    assert len(set(pairs)) == len(pairs)


def test_no_document_repeats_the_target(documents, target):
    rows = [row for items in target.values() for row in items]
    assert not set(documents["id"]) & {row["document_id"] for row in rows}
    # The code alone: the sentence around it stands in no docstring.
    code = [row["question"].split("```")[1].removeprefix("python") for row in rows]
    decontaminator = Decontaminator(code, [row["answer"] for row in rows])
    assert not any(decontaminator.shares_ngram(text) for text in documents["text"])
    assert sum(decontaminator.shares_ngram(f"Example: {question}") for question in code) > 100


def test_tokenizer_is_a_chat_tokenizer(assets: Path, target):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assets / "model")
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    contents = [(row["question"], row["answer"]) for row in target["test"]] + [
        ("a\n ", "\n 12"),
        (" ", "\u2203x ∈ ℝ\t"),
    ]
    for question, answer in contents:
        prompt = [{"role": "system", "content": "Compute."}, {"role": "user", "content": question}]
        completion = [{"role": "assistant", "content": answer}]
        start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(prompt + completion, return_dict=False)
        assert whole[: len(start)] == start
        assert whole[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(whole[len(start) : -1]) == answer


def test_model_trains_on_pairs(assets: Path, target):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assets / "model")
    model = AutoModelForCausalLM.from_pretrained(assets / "model")
    assert 1e6 <= model.num_parameters() <= 3e6
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == 2048
    batch = tokenizer(target["test"]["question"][:8], padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(5):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert 7 < losses[0] < 8  # ln(2048) = 7.6: random weights know nothing
    assert losses[-1] < losses[0] - 0.5


def test_embedder_tells_mathematics_from_graphs(assets: Path, documents, target):
    import numpy as np
    from sentence_transformers import SentenceTransformer

    embedder = SentenceTransformer(str(assets / "embedder"), device="cpu")
    rows = target["reference"]
    items = [f"{question}\n{answer}" for question, answer in zip(rows["question"], rows["answer"], strict=True)]
    reference = embedder.encode(items)
    assert reference.shape == (200, 128)
    np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, atol=1e-5)
    nearness = embedder.encode(documents["text"][:]) @ reference.mean(axis=0)
    graphs = np.array([package == "networkx" for package in documents["package"]])
    assert 0.1 < graphs.mean() < 0.9
    assert graphs[np.argsort(-nearness)[:100]].mean() < graphs.mean() / 4
    # The words every question is put in are no subject, so they have no direction.
    assert np.linalg.norm(embedder.encode(["What does the last statement of this Python code output?"])) < 1e-6
    assert embedder.encode([""]).shape == (1, 128)


def test_same_inputs_same_bytes_and_a_complete_folder_is_left_alone(
    assets: Path, build_assets: Callable[..., str], tmp_path: Path
):
    build_assets(tmp_path, hash_seed="7")
    first, second = files_of(assets), files_of(tmp_path)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []

    manifest = json.loads(first["manifest.json"])
    assert set(manifest["files"]) == first.keys() - {"manifest.json"}
    assert manifest["counts"]["distribution_not_installed"] == 1
    assert manifest["counts"]["contaminated"] > 0

    os.utime(tmp_path / "documents.parquet", (1, 1))
    started = time.perf_counter()
    assert "complete, nothing to do" in build_assets(tmp_path)
    assert time.perf_counter() - started < 10
    assert (tmp_path / "documents.parquet").stat().st_mtime == 1


def test_incomplete_folders_are_recognised(assets: Path, tmp_path: Path):
    inputs = json.loads((assets / "manifest.json").read_text())["inputs"]
    assert quickstart_assets.complete_manifest(assets, inputs) is not None
    assert quickstart_assets.complete_manifest(assets, {**inputs, "seed": 43}) is None
    assert quickstart_assets.complete_manifest(tmp_path, inputs) is None
    for name, content in files_of(assets).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert quickstart_assets.complete_manifest(tmp_path, inputs) is not None
    (tmp_path / "model" / "config.json").write_text("{}")
    assert quickstart_assets.complete_manifest(tmp_path, inputs) is None
    (tmp_path / "model" / "config.json").unlink()
    assert quickstart_assets.complete_manifest(tmp_path, inputs) is None
    (tmp_path / "manifest.json").write_text("[]")
    assert quickstart_assets.complete_manifest(tmp_path, inputs) is None


def test_without_sympy_the_message_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(MissingDependencyError, match="pip install sympy"):
        quickstart_assets.build(tmp_path, packages=("networkx",))
    with pytest.raises(SystemExit, match="pip install sympy"):
        quickstart_assets.main(["--output_dir", str(tmp_path), "--packages", "networkx"])
    with pytest.raises(SystemExit):
        quickstart_assets.main(["--output_dir", str(tmp_path), "--max_documents", "0"])
    assert "--max_documents is 0" in capsys.readouterr().err
