"""From a recipe's arguments to the objects it runs on."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.arguments import RunArguments
from equal_hf.target.items import Target

if TYPE_CHECKING:
    from trl import ModelConfig

    from equal_hf.collection.collector import EqualDataCollector
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.extraction.prompts.template import PromptTemplate
    from equal_hf.extraction.protocol import Extractor


def make_extractor(
    run: RunArguments, output_dir: str, targets: Mapping[str, Target] | None = None, seed: int = 42
) -> Extractor:
    """The extractor of a run; an endpoint's replies are kept in `responses.sqlite` in the run folder, or where
    `response_store` says.

    Args:
        run ([`RunArguments`]): The arguments.
        output_dir (`str`): Run folder.
        targets (`Mapping[str, Target]`, *optional*): Where examples for the prompt are drawn from.
        seed (`int`, *optional*, defaults to `42`): Draws them, and seeds sampling.

    Raises:
        [`ConfigError`]: If `extractor` is unknown or an endpoint has no URL.
    """
    if run.extractor == "explicit":
        from equal_hf.extraction.explicit.extractor import ExplicitExtractor

        return ExplicitExtractor()
    from equal_hf.extraction.endpoint_extractor import EndpointExtractor

    return EndpointExtractor(
        run.endpoint,
        prompt=make_prompt(run, targets, seed),
        seed=seed,
        prices=run.prices,
        store=run.store_path(output_dir),
    )


def make_prompt(run: RunArguments, targets: Mapping[str, Target] | None, seed: int) -> PromptTemplate:
    """The extraction prompt of a run.

    Args:
        run ([`RunArguments`]): The arguments.
        targets (`Mapping[str, Target]`, *optional*): Where `extractor_examples` and the items that grades go by are
            drawn from, in turn where there are several; none are shown, and no grades asked for, without it.
        seed (`int`): Draws them.

    Raises:
        [`ConfigError`]: If the prompt cannot be read, or has no place for examples or grading.
    """
    from equal_hf.extraction.prompts.grading import GRADE_ITEMS
    from equal_hf.extraction.prompts.template import PromptTemplate

    settings: dict[str, Any] = {}
    if targets:
        examples = _reference_items(targets, run.extractor_examples, seed)
        settings["examples"] = examples
        if run.extractor_grade:
            further = _reference_items(targets, GRADE_ITEMS, f"{seed}-grade", without=examples)
            settings |= {"grade": True, "grade_items": further[: max(0, GRADE_ITEMS - len(examples))]}
    if run.extractor_prompt:
        return PromptTemplate.load(run.extractor_prompt, **settings)
    return PromptTemplate(**settings)


def _reference_items(
    targets: Mapping[str, Target], count: int, seed: int | str, without: Collection[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """Questions and answers of the references, of several targets in turn."""
    drawn = []
    for target in targets.values():
        left = [item for item in target.reference if (item.question, item.answer) not in without]
        drawn.append(random.Random(seed).sample(left, min(count, len(left))))
    in_turn = [item for item in chain.from_iterable(zip_longest(*drawn)) if item is not None]
    return tuple((item.question, item.answer) for item in in_turn[:count])


def make_collector(
    run: RunArguments,
    args: CollectorConfig,
    corpus: ClusteredCorpus,
    targets: Mapping[str, Target],
    policy: str | None = None,
) -> EqualDataCollector:
    """The collector of a run, or of its control.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`CollectorConfig`]): Its own settings; an `EqualConfig` is one.
        corpus ([`ClusteredCorpus`]): What it draws from.
        targets (`Mapping[str, Target]`): The target tasks by name.
        policy (`str`, *optional*): The policy of a control, whose folder is in the run's: it reads the replies that
            are paid for there already.

    Raises:
        [`ConfigError`]: As of [`make_extractor`] and [`EqualDataCollector`].
    """
    from equal_hf.collection.collector import EqualDataCollector

    replies = str(Path(args.output_dir).parent) if policy else args.output_dir
    return EqualDataCollector(
        corpus,
        make_extractor(run, replies, targets, args.seed),
        run.make_bandit(policy),
        run.make_rewards(run.prices),
        args,
        reference={name: target.reference for name, target in targets.items()},
        protected=[item for target in targets.values() for item in (*target.validation, *target.test)],
    )


def model_settings(model: ModelConfig, further: Any) -> dict[str, Any]:
    """What the model is loaded with: revision, precision and attention, and `model_init_kwargs`, which win.

    Args:
        model (`ModelConfig`): The model.
        further (`Mapping[str, Any]`, *optional*): `model_init_kwargs` of the trainer's settings.
    """
    named = {"revision": model.model_revision, "dtype": model.dtype, "attn_implementation": model.attn_implementation}
    return {name: value for name, value in named.items() if value is not None} | dict(further or {})


def adapter_settings(model: ModelConfig) -> Any:
    """The adapter's settings (`PeftConfig`); `None` where the whole model is trained.

    Args:
        model (`ModelConfig`): The model.
    """
    from trl import get_peft_config

    config: Any = get_peft_config(model)
    # TRL makes a text of a list of one, which PEFT takes for a pattern of whole names that matches none.
    if config is not None and isinstance(config.target_modules, str) and config.target_modules.isidentifier():
        config.target_modules = {config.target_modules}
    return config
