"""The model card says what the model was trained on; everything else in it stays TRL's or the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equal_hf.publishing.dataset_metadata import hub_id
from equal_hf.utils.files import write_file
from equal_hf.utils.markdown import END, START, code, join_front_matter, replace_generated, split_front_matter

TAG = "equal-hf"
_PAPER = "[arXiv:2505.12250](https://arxiv.org/abs/2505.12250)"


def link_model_card(
    model_dir: str | Path, dataset: str | Path, *, rounds: int | None = None, policy: str | None = None
) -> Path:
    """Add the dataset to a model's card: to its metadata and in a sentence. Doing it again changes nothing.

    Args:
        model_dir (`str` or `Path`): The model folder; its `README.md` is made where there is none.
        dataset (`str` or `Path`): The dataset's id on the Hub, or its folder; a folder is named in the sentence only.
        rounds (`int`, *optional*): How many rounds the model was trained in.
        policy (`str`, *optional*): The policy that selected documents: `"uniform"` is the control, of which EQUAL
            selected nothing.

    Returns:
        `Path`: The card.
    """
    path = Path(model_dir) / "README.md"
    metadata, body = split_front_matter(path.read_text(encoding="utf-8") if path.exists() else "")
    name = str(dataset)
    if hub_id(name):
        metadata["datasets"] = _joined(metadata.get("datasets"), [name])
        shown = f"[{name}](https://huggingface.co/datasets/{name})"
    else:
        shown = f"the dataset in {code(Path(name).name)}"
    metadata["tags"] = _joined(metadata.get("tags"), [TAG])
    span = f" in {rounds} rounds" if rounds is not None else ""
    source = f"that EQUAL ({_PAPER}) extracted from the documents it selected"
    if policy == "uniform":
        source = f"from documents drawn uniformly at random, the control that EQUAL ({_PAPER}) is compared with"
    sentence = f"## Training data\n\nTrained{span} on {shown}: question-answer pairs {source}."
    write_file(path, join_front_matter(metadata, replace_generated(body, sentence)))
    return path


def merge_model_cards(ours: str, theirs: str) -> str:
    """Our card in the place of the one that a repository has: that stays, with our section renewed.

    Args:
        ours (`str`): The card to publish.
        theirs (`str`): The card that is there; empty where there is none.
    """
    if not theirs.strip():
        return ours
    metadata, body = split_front_matter(ours)
    old, old_body = split_front_matter(theirs)
    lists = {key: _joined(old.get(key), _listed(metadata.get(key))) for key in ("tags", "datasets")}
    section = body.split(START, 1)[-1].split(END, 1)[0] if START in body else body
    return join_front_matter(
        {**metadata, **old, **{key: names for key, names in lists.items() if names}},
        replace_generated(old_body, section),
    )


def is_ours(card: str) -> bool:
    """Whether a run of this package wrote a model's card, or into it."""
    tags = _listed(split_front_matter(card)[0].get("tags"))
    return TAG in tags or "equal" in tags  # of the trainer


def _joined(value: Any, names: list[Any]) -> list[Any]:
    return list(dict.fromkeys([*_listed(value), *names]))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
