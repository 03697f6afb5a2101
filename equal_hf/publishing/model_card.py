"""The model card says which dataset the model was trained on; everything else in it stays TRL's or the user's."""

from __future__ import annotations

from pathlib import Path

from equal_hf.publishing.dataset_metadata import hub_id
from equal_hf.utils.files import write_file
from equal_hf.utils.markdown import code, join_front_matter, replace_generated, split_front_matter


def link_model_card(model_dir: str | Path, dataset: str | Path, *, rounds: int | None = None) -> Path:
    """Add the dataset to a model's card: to its metadata and in a sentence. Doing it again changes nothing.

    Args:
        model_dir (`str` or `Path`): The model folder; its `README.md` is made where there is none.
        dataset (`str` or `Path`): The dataset's id on the Hub, or its folder; a folder is named in the sentence only.
        rounds (`int`, *optional*): How many rounds the model was trained in.

    Returns:
        `Path`: The card.
    """
    path = Path(model_dir) / "README.md"
    metadata, body = split_front_matter(path.read_text(encoding="utf-8") if path.exists() else "")
    name = str(dataset)
    if hub_id(name):
        listed = metadata.get("datasets") or []
        listed = [listed] if isinstance(listed, str) else list(listed)
        metadata["datasets"] = listed if name in listed else [*listed, name]
        shown = f"[{name}](https://huggingface.co/datasets/{name})"
    else:
        shown = f"the dataset in {code(Path(name).name)}"
    tags = metadata.get("tags") or []
    tags = [tags] if isinstance(tags, str) else list(tags)
    metadata["tags"] = tags if "equal-hf" in tags else [*tags, "equal-hf"]
    span = f" in {rounds} rounds" if rounds is not None else ""
    sentence = (
        f"## Training data\n\nTrained{span} on {shown}: question-answer pairs that EQUAL "
        "([arXiv:2505.12250](https://arxiv.org/abs/2505.12250)) extracted from the documents it found worth it."
    )
    write_file(path, join_front_matter(metadata, replace_generated(body, sentence)))
    return path
