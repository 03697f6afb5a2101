"""Write docs/source/settings.md, the list of all settings, from the dataclasses that define them.

python docs/settings.py
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "source/settings.md"
HEAD = """# All settings

Every key of a run's YAML that is not one of TRL's `SFTConfig` or `ModelConfig` (learning rate, batch size, LoRA, …),
which `trl sft --help` lists. Each is also a flag of the same name, which takes precedence. (Written by
`python docs/settings.py`.)
"""


def page() -> str:
    """The page in Markdown."""
    from trl import SFTConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.indexing.config import IndexConfig
    from equal_hf.extraction.config import EndpointConfig
    from equal_hf.filters.config import FilterConfig
    from equal_hf.publishing.config import PublishConfig
    from equal_hf.selection.config import SelectionConfig
    from equal_hf.target.config import TargetConfig
    from equal_hf.training.config import EqualConfig
    from equal_hf.training.exact_match.config import ExactMatchConfig

    corpus, rounds = {one.name for one in fields(CorpusConfig)}, {one.name for one in fields(CollectorConfig)}
    filters, trl = {one.name for one in fields(FilterConfig)}, {one.name for one in fields(SFTConfig)}
    groups: list[tuple[str, Any, set[str]]] = [
        ("Corpus", CorpusConfig, set()),
        ("Target", TargetConfig, set()),
        ("Selection", SelectionConfig, set()),
        ("Rounds and budget", CollectorConfig, filters | trl),
        ("Filters", FilterConfig, set()),
        ("Training", EqualConfig, rounds | filters | trl),
        ("Exact match", ExactMatchConfig, set()),
        ("Publishing", PublishConfig, set()),
        ("Only of `equal-hf index` and `equal-hf align`", IndexConfig, corpus),
    ]
    parts = [HEAD]
    told: set[str] = set()
    for title, kind, others in groups:
        parts.append(_table(title, [one for one in fields(kind) if one.init and one.name not in others]))
        told |= {one.name for one in fields(kind)}
    rest = [one for one in fields(RunArguments) if one.init and one.name not in told]
    names = {f"extractor_{one.name}" for one in fields(EndpointConfig)}
    parts.insert(4, _table("Endpoint", [one for one in rest if one.name in names]))
    parts.insert(4, _table("Extraction and prices", [one for one in rest if one.name not in names]))
    return "\n".join(parts)


def _table(title: str, settings: list[Field[Any]]) -> str:
    return "\n".join([f"## {title}\n", "| key | default | what it is |", "|---|---|---|", *map(_row, settings), ""])


def _row(one: Field[Any]) -> str:
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    shown = "" if default in (None, MISSING, "") else f"`{_plain(default)}`"
    parts = str(one.metadata["help"]).replace("|", "\\|").split("`")
    parts[::2] = [text.replace("<", "&lt;").replace("{", "&#123;") for text in parts[::2]]  # not what is code
    said = "`".join(parts)
    if choices := one.metadata.get("choices"):
        said += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    return f"| `{one.name}` | {shown} | {' '.join(said.split())} |"


def _plain(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
