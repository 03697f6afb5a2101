"""A model's card: what it was made from and trained on, how good it is, how to load it; the rest stays TRL's or the
user's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equal_hf.publishing.base_model import BaseModel
from equal_hf.publishing.model_results import eval_results, results_section
from equal_hf.publishing.previous_export import CARD, last_push
from equal_hf.publishing.reproduce import short_path
from equal_hf.records.json_files import read_json
from equal_hf.records.run_file import RunFile
from equal_hf.utils.files import write_file
from equal_hf.utils.hub_repository import hub_id
from equal_hf.utils.markdown import END, START, code, join_front_matter, replace_generated, split_front_matter

TAG, ADAPTER = "equal-hf", "adapter_config.json"
HERE = "path/to/this/folder"  # in examples, until the model is pushed
_TRL = re.compile(
    r"(# Model Card for [^\n]*\n)\nThis model is a fine-tuned version of .*?^## Training procedure\s+", re.S | re.M
)
_PAPER = "[arXiv:2505.12250](https://arxiv.org/abs/2505.12250)"


def link_model_card(
    model_dir: str | Path,
    dataset: str | Path,
    *,
    rounds: int | None = None,
    policy: str | None = None,
    run: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    repo_id: str | None = None,
) -> Path:
    """Write into a model's card what it was made from and trained on, how good it is, and how to load it. Doing it
    again renews that and nothing else.

    Args:
        model_dir (`str` or `Path`): The model folder; its `README.md` is made where there is none.
        dataset (`str` or `Path`): The dataset's id on the Hub, or its folder; a folder is named in the sentence only.
        rounds (`int`, *optional*): How many rounds the model was trained in.
        policy (`str`, *optional*): The policy that selected documents: `"uniform"` is the control, of which EQUAL
            selected nothing.
        run (`Mapping[str, Any]`, *optional*): What `run.json` holds: base model and target.
        summary (`Mapping[str, Any]`, *optional*): Measures by run, as `summary.json` has them.
        repo_id (`str`, *optional*): The model's repository, for the examples.

    Returns:
        `Path`: The card.
    """
    path = Path(model_dir) / "README.md"
    metadata, body = split_front_matter(path.read_text(encoding="utf-8") if path.exists() else "")
    config = (run or {}).get("config", {})
    base = BaseModel.of(str(config["model"])) if config.get("model") else None
    if metadata.get("licence") == "license":  # a placeholder of TRL's
        del metadata["licence"]
    if base is not None and base.on_hub:
        metadata["base_model"] = base.on_hub
    if (Path(model_dir) / ADAPTER).is_file():
        metadata["library_name"] = "peft"
    if metadata.get("library_name") in ("peft", "transformers"):
        metadata.setdefault("pipeline_tag", "text-generation")
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
    targets = config.get("target") or []
    targets = [short_path(str(target)) for target in ([targets] if isinstance(targets, str) else targets)]
    aim = f" The target was {' and '.join(map(code, targets))}." if targets else ""
    sections = [
        _introduction(base, shown),
        results_section(summary or {}, targets),
        _loading(Path(model_dir), repo_id, base),
        f"## Training data\n\nTrained{span} on {shown}: question-answer pairs {source}.{aim}",
        _licence(base, chosen="license" in metadata),
    ]
    generated = "\n\n".join(section for section in sections if section)
    write_file(path, join_front_matter(metadata, replace_generated(_without_introduction(body), generated)))
    return path


def complete_model_card(run_dir: str | Path) -> list[str]:
    """Renew the card of a run's model when its control has been measured, with the Hub's own form of results.

    Args:
        run_dir (`str` or `Path`): The run folder.

    Returns:
        `list[str]`: The files in `hub/model` that were written.
    """
    folder, run = Path(run_dir) / "hub" / "model", RunFile(run_dir).read()
    summary = read_json(Path(run_dir) / "summary.json")
    policy = run["fingerprint"].get("bandit", {}).get("policy")
    dataset = last_push(run_dir).get("repo_id") or "../dataset"
    repo_id = run.get("config", {}).get("hub_model_id")
    link_model_card(folder, dataset, policy=policy, run=run, summary=summary, repo_id=repo_id)
    files = eval_results(run.get("config", {}), summary.get("equal") or {})
    for name, text in files.items():
        write_file(folder / name, text)
    return [CARD, *files]


def _introduction(base: BaseModel | None, dataset: str) -> str:
    return f"Fine-tuned from {base.link()}, on {dataset}." if base is not None else ""


def _loading(folder: Path, repo_id: str | None, base: BaseModel | None) -> str:
    name = json.dumps(repo_id or HERE)
    question = '[{"role": "user", "content": "What is 3 + 4?"}]'
    ask = f"print(generator({question}, max_new_tokens=128, return_full_text=False))"
    if not (folder / ADAPTER).is_file():
        if not (folder / "config.json").is_file():
            return ""
        return f"""\
## How to load it

The weights are the whole model, without an adapter:

```python
from transformers import pipeline

generator = pipeline("text-generation", model={name})
{ask}
```"""
    peft, loads = (
        "AutoPeftModelForCausalLM",
        f"model = AutoPeftModelForCausalLM.from_pretrained({name})  # the base model, with the adapter beside it",
    )
    if base is not None and base.local:  # by its folder's name, which is no repository
        peft, loads = (
            "PeftModel",
            f"base = AutoModelForCausalLM.from_pretrained({json.dumps(f'path/to/{base.name}')})  # the base model\n"
            f"model = PeftModel.from_pretrained(base, {name})  # with the adapter beside it",
        )
    auto = "AutoModelForCausalLM, " if peft == "PeftModel" else ""
    return f"""\
## How to load it

The weights are an adapter (PEFT):

```python
from peft import {peft}
from transformers import {auto}AutoTokenizer, pipeline

tokenizer = AutoTokenizer.from_pretrained({name})
{loads}
model = model.merge_and_unload()  # may be left out; merged, it is as fast as the base model and needs no PEFT

generator = pipeline("text-generation", model=model, tokenizer=tokenizer)
{ask}
```"""


def _licence(base: BaseModel | None, *, chosen: bool) -> str:
    terms = f", {code(base.licence)} by its card," if base is not None and base.licence else ""
    text = (
        f"## Licence\n\nWho passes this model on keeps to the terms of its base model{terms} and looks at the "
        "licences of the pairs that it was trained on, which the dataset's card lists."
    )
    return (
        text
        if chosen
        else f"{text} No licence of its own has been chosen: the card's metadata is where it belongs (`license`)."
    )


def _without_introduction(body: str) -> str:
    """The body without TRL's first part, which knows neither a local base model nor the dataset: ours comes there."""
    here = "" if START in body else f"\n{START}\n{END}\n\n"
    return _TRL.sub(lambda found: f"{found[1]}{here}## Training procedure\n\n", body, count=1)


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
    old_body = _without_introduction(old_body)
    if old.get("licence") == "license":
        del old["licence"]
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
