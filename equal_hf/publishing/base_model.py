"""What a model was made from: the Hub's model, or a local folder and what that says it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_hf.utils.hub_repository import hub_id
from equal_hf.utils.markdown import code, split_front_matter

_FROM = ("_name_or_path", "base_model_name_or_path")
LARGEST = 10_000_000  # bytes of a file that is read for it


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model.

    Args:
        name (`str`): Its id on the Hub, or the last part of its folder's path.
        local (`bool`): Whether it was a folder.
        made_from (`str`, *optional*): The model on the Hub that a folder says it was made from.
        licence (`str`, *optional*): The licence that the card in a folder states.
    """

    name: str
    local: bool = False
    made_from: str | None = None
    licence: str | None = None

    @classmethod
    def of(cls, name_or_path: str) -> BaseModel:
        """The model of that name, as its settings have it."""
        path = Path(name_or_path)
        if not path.is_dir():
            local = not hub_id(name_or_path)
            return cls(path.name if local else name_or_path, local)
        metadata, _ = split_front_matter(_text(path / "README.md"))
        licence = metadata.get("license")
        return cls(
            path.absolute().name, True, _made_from(path, metadata), licence if isinstance(licence, str) else None
        )

    @property
    def on_hub(self) -> str | None:
        """The `base_model` of a card: what is on the Hub of it."""
        return self.made_from if self.local else self.name

    def link(self) -> str:
        """It in Markdown."""
        if not self.local:
            return f"[{self.name}](https://huggingface.co/{self.name})"
        made = f", which says it was made from [{self.made_from}](https://huggingface.co/{self.made_from})"
        return f"the local model {code(self.name)}" + (
            made if self.made_from else ", which does not say what it was made from"
        )


def _made_from(folder: Path, metadata: dict[str, Any]) -> str | None:
    """By the metadata of its card, else by its configuration, which libraries fill in when they save a model."""
    stated = metadata.get("base_model")
    names = [*(stated if isinstance(stated, list) else [stated])]
    for name in ("config.json", "adapter_config.json"):
        try:
            config: Any = json.loads(_text(folder / name) or "{}")
        except (ValueError, RecursionError):
            continue
        names += [config.get(key) for key in _FROM] if isinstance(config, dict) else []
    return next((str(name) for name in names if hub_id(name)), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= LARGEST else ""
    except (OSError, ValueError):
        return ""
