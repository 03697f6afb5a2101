"""What a recipe's YAML says besides the trainer's settings and the model's: corpus, target, selection, extractor, Hub.

Every key is also a flag of the same name (`--extractor_url http://…`), which wins over the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from equal_hf.collection.config import CALLS
from equal_hf.corpus.config import CorpusConfig
from equal_hf.errors import ConfigError
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.config import EndpointConfig
from equal_hf.publishing.config import PublishConfig
from equal_hf.selection.config import PER_COST, SelectionConfig
from equal_hf.target.config import TargetConfig
from equal_hf.training.exact_match.config import ExactMatchConfig
from equal_hf.utils.effective import AllNeeds
from equal_hf.utils.settings import check_settings, prefixed, setting, take
from equal_hf.utils.typed_values import NULL, Range

EXTRACTORS = ("endpoint", "explicit")
_PREFIX = "extractor_"


@dataclass
@prefixed(EndpointConfig, _PREFIX, needs=CALLS)
class RunArguments(PublishConfig, ExactMatchConfig, SelectionConfig, TargetConfig, CorpusConfig):
    """Arguments of a recipe: those of [`CorpusConfig`], [`TargetConfig`], [`SelectionConfig`], [`ExactMatchConfig`],
    [`PublishConfig`] and, with `extractor_` before their names, those of [`EndpointConfig`]; and these. Each field
    says what it is."""

    required: ClassVar[tuple[str, ...]] = ("corpus", "target")
    renamed: ClassVar[dict[str, str]] = {"extractor_flavour": "extractor_dialect"}

    needs: ClassVar[AllNeeds] = {
        **dict.fromkeys(
            (
                "extractor_prompt extractor_examples extractor_grade response_store "
                "price_factor_flex price_factor_priority "
                "price_per_million_prompt_tokens price_per_million_completion_tokens price_per_million_cached_tokens"
            ).split(),
            CALLS,
        ),
        "price_factor_batch": {**CALLS, "extractor_batch": [True]},
    }

    extractor: str = setting(
        "endpoint", "What extracts pairs: `endpoint`, or `explicit` for pairs that documents state.", EXTRACTORS
    )
    extractor_prompt: str | None = setting(
        None,
        "Jinja file that replaces the prompt, or a dataset repository that holds one (`user/repo[@revision][/path]`).",
    )
    extractor_examples: Annotated[int, Range(0)] = setting(
        0, "Number of reference items shown in the prompt as examples."
    )
    extractor_grade: bool = setting(
        False,
        "Ask for a grade of each pair in the same reply: how well its question fits the target, from 0 to 3, by four "
        "reference items shown. It teaches the selection; no pair is rejected by it.",
    )
    price_per_million_prompt_tokens: Annotated[float, Range(0)] = setting(
        0.0, "Price of a million prompt tokens, in the currency of `max_cost`."
    )
    price_per_million_completion_tokens: Annotated[float, Range(0)] = setting(
        0.0, "Price of a million completion tokens, in the currency of `max_cost`."
    )
    price_per_million_cached_tokens: Annotated[float, Range(0)] | None = setting(
        None, "Price of a million prompt tokens that the provider had cached; that of prompt tokens if unset."
    )
    price_factor_flex: Annotated[float, Range(0)] = setting(
        0.5, "What a request of the flex tier costs, as a share of the full price."
    )
    price_factor_batch: Annotated[float, Range(0)] = setting(
        0.5, "What a request in a provider's batch costs, as a share of the full price."
    )
    price_factor_priority: Annotated[float, Range(0)] = setting(
        2.0, "What a request of the priority tier costs, as a share of the full price."
    )
    response_store: str | None = setting(
        None, "File of responses, `<output_dir>/responses.sqlite` if unset; runs that share it never pay twice."
    )
    control: str | None = setting(
        None, "`uniform` repeats the run with uniform selection, at equal budget and steps.", ["uniform"]
    )

    def __post_init__(self) -> None:
        for config in (CorpusConfig, TargetConfig, SelectionConfig, ExactMatchConfig, PublishConfig):
            config.__post_init__(self)
        _ = self.endpoint, self.prices  # which check themselves
        check_settings(self, only=RunArguments)
        for name in self.required:
            if not getattr(self, name) or (name == "target" and {NULL, ""} & set(self.target)):
                raise ConfigError(f"`{name}` is not set: name a Hub dataset or a local file or folder")
        priced = [name for name in self.reward_funcs if name.endswith(PER_COST)]
        if priced and self.prices.free:
            raise ConfigError(
                f"`reward_funcs` names {', '.join(priced)}, but `price_per_million_prompt_tokens` and "
                "`price_per_million_completion_tokens` are 0: set what the endpoint charges, or use "
                f"{', '.join(name.replace('_cost', '_token') for name in priced)}"
            )

    @property
    def endpoint(self) -> EndpointConfig:
        """The endpoint's settings, with the key from the environment where there is none."""
        config: Any = self
        return take(EndpointConfig, self, _PREFIX, api_key=config.extractor_api_key or os.environ.get("EQUAL_API_KEY"))

    @property
    def prices(self) -> Prices:
        """What the endpoint charges."""
        return Prices(
            self.price_per_million_prompt_tokens,
            self.price_per_million_completion_tokens,
            self.price_per_million_cached_tokens,
            self.price_factor_flex,
            self.price_factor_batch,
            self.price_factor_priority,
        )

    def store_path(self, output_dir: str | Path) -> Path:
        """The file of responses.

        Args:
            output_dir (`str` or `Path`): Run folder.
        """
        return Path(self.response_store) if self.response_store else Path(output_dir) / "responses.sqlite"
