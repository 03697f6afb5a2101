"""Questions of named benchmarks, which no pair may repeat: what `decontaminate_against` names.

>>> Benchmark.parse("openai/gsm8k@main:test:question")
Benchmark(source='openai/gsm8k', config='main', split='test', column='question')
>>> Benchmark.parse("exam.parquet").split, Benchmark.parse("cais/mmlu@all").split
('train', 'test')
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from equal_hf.errors import ConfigError

_COLON = re.compile(r":(?![^\[\]]*\])")  # but not the one in a slice, `train[:10]`
_FILES = (".parquet", ".jsonl", ".json", ".csv")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Where the questions of a benchmark are.

    Args:
        source (`str`): Hub dataset id, file or folder, as for a corpus.
        config (`str`, *optional*): Configuration of the Hub dataset.
        split (`str`, *optional*, defaults to `"test"`): Split of it; a file has one only.
        column (`str`, *optional*, defaults to `"question"`): Column of texts.
    """

    source: str
    config: str | None = None
    split: str = "test"
    column: str = "question"

    @classmethod
    def parse(cls, text: str) -> Benchmark:
        """Read `source[@config][:split][:column]`.

        Raises:
            [`ConfigError`]: If it has no source, or more parts than these.
        """
        parts = [text] if Path(text).exists() else _COLON.split(text)
        source, config = parts[0], None
        if "@" in source and not Path(source).exists():
            source, _, config = source.partition("@")
        if not all((source, config != "", *parts)) or len(parts) > 3:
            raise ConfigError(
                f"`decontaminate_against` names {text!r}: write `source[@configuration][:split][:column]`, such as "
                "openai/gsm8k@main:test:question"
            )
        split = "train" if Path(source).is_file() or source.endswith(_FILES) else "test"
        return cls(source, config, *(parts[1:] or [split]))

    def label(self) -> str:
        """What published records call it: no folder of this machine.

        >>> Benchmark("cais/mmlu", "all").label()
        'cais/mmlu@all:test:question'
        """
        source = Path(self.source).name if Path(self.source).exists() else self.source
        return f"{source}{'@' + self.config if self.config else ''}:{self.split}:{self.column}"

    def texts(self) -> list[str]:
        """All texts of the column.

        Raises:
            [`ConfigError`]: If the column is missing, or holds no text.
            [`CorpusError`]: If the source cannot be opened.
        """
        from equal_hf.corpus.open_dataset import open_dataset

        rows = open_dataset(self.source, name=self.config, split=self.split, setting="decontaminate_against")
        if self.column not in (columns := rows.column_names):
            raise ConfigError(
                f"`decontaminate_against`: {self.source} has no column {self.column!r}: name one of "
                f"{', '.join(columns)} after the split"
            )
        texts = [text for row in rows if isinstance(text := row.get(self.column), str) and text.strip()]
        if not texts:
            raise ConfigError(
                f"`decontaminate_against`: column {self.column!r} of {self.source} holds no text: name another"
            )
        return texts


def benchmark_texts(names: Iterable[str]) -> dict[str, list[str]]:
    """The texts of all benchmarks named, by the label of each.

    Raises:
        [`ConfigError`]: If a name cannot be read, or a column is missing or empty.
        [`CorpusError`]: If a source cannot be opened.
    """
    texts: dict[str, list[str]] = {}
    for name in names:
        benchmark = Benchmark.parse(name)
        texts.setdefault(benchmark.label(), []).extend(benchmark.texts())
    return texts
