"""EQUAL for Hugging Face: turn a document corpus into instruction-tuning data, spending calls on documents worth one.

Names are imported when they are first used, so that `import equal_hf` is quick and loads no framework.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("equal-hf")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0.0.0"

_HOMES = {
    "ClusteredCorpus": "equal_hf.corpus.clustered_corpus",
    "CollectorConfig": "equal_hf.collection.config",
    "Document": "equal_hf.types",
    "EXP3": "equal_hf.selection.experimental.exp3",
    "EndpointExtractor": "equal_hf.extraction.endpoint_extractor",
    "EqualConfig": "equal_hf.training.config",
    "EqualDataCollector": "equal_hf.collection.collector",
    "EqualError": "equal_hf.errors",
    "EqualTrainer": "equal_hf.training.trainer",
    "ExplicitExtractor": "equal_hf.extraction.explicit.extractor",
    "Extraction": "equal_hf.types",
    "Greedy": "equal_hf.selection.bandits",
    "LinUCB": "equal_hf.selection.experimental.linucb",
    "QAPair": "equal_hf.types",
    "Round": "equal_hf.types",
    "Target": "equal_hf.target.items",
    "TargetItem": "equal_hf.target.items",
    "Thompson": "equal_hf.selection.bandits",
    "UCB": "equal_hf.selection.bandits",
    "Uniform": "equal_hf.selection.bandits",
    "known_at": "equal_hf.selection.rewards",
    "load_target": "equal_hf.target.load",
    "loss_drop_reward": "equal_hf.selection.rewards",
    "transport_reward": "equal_hf.selection.rewards",
    "value_reward": "equal_hf.selection.rewards",
}

# Names of earlier versions, which still work.
_RENAMED = {"worth_reward": "value_reward"}

__all__ = sorted([*_HOMES, "__version__"])

if TYPE_CHECKING:
    from equal_hf.collection.collector import EqualDataCollector
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.errors import EqualError
    from equal_hf.extraction.endpoint_extractor import EndpointExtractor
    from equal_hf.extraction.explicit.extractor import ExplicitExtractor
    from equal_hf.selection.bandits import UCB, Greedy, Thompson, Uniform
    from equal_hf.selection.experimental.exp3 import EXP3
    from equal_hf.selection.experimental.linucb import LinUCB
    from equal_hf.selection.rewards import known_at, loss_drop_reward, transport_reward, value_reward
    from equal_hf.target.items import Target, TargetItem
    from equal_hf.target.load import load_target
    from equal_hf.training.config import EqualConfig
    from equal_hf.training.trainer import EqualTrainer
    from equal_hf.types import Document, Extraction, QAPair, Round


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warnings.warn(f"`equal_hf.{name}` is called `{_RENAMED[name]}` now", FutureWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'equal_hf' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
