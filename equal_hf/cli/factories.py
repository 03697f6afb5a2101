"""From a recipe's arguments to the objects it runs on."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.target_arguments import target_settings
from equal_hf.errors import ConfigError
from equal_hf.selection.bandits import UCB, Bandit, Greedy, Uniform
from equal_hf.selection.cost import per_cost, per_token
from equal_hf.selection.experimental.exp3 import EXP3
from equal_hf.selection.experimental.influence import influence_reward
from equal_hf.selection.experimental.linucb import LinUCB
from equal_hf.selection.experimental.loss_attribution import loss_attribution_reward
from equal_hf.selection.experimental.transport_rewards import (
    debiased_transport_reward,
    marginal_transport_reward,
    pooled_transport_reward,
)
from equal_hf.selection.rewards import loss_drop_reward, reward_name, transport_reward, value_reward, yield_reward
from equal_hf.selection.thompson import Thompson
from equal_hf.target import Target, load_target
from equal_hf.utils.settings import take

if TYPE_CHECKING:
    from equal_hf.collection.collector import EqualDataCollector
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.extraction.config import EndpointConfig
    from equal_hf.extraction.prompts.template import PromptTemplate
    from equal_hf.extraction.protocol import Extractor

REWARD_FUNCTIONS: dict[str, Callable[..., list[float | None]]] = {
    reward_name(function): function
    for function in (
        value_reward,
        transport_reward,
        debiased_transport_reward,
        pooled_transport_reward,
        marginal_transport_reward,
        yield_reward,
        per_token(value_reward),
        per_token(yield_reward),
        loss_drop_reward,
        loss_attribution_reward,
        influence_reward,
    )
}


def open_corpus(run: RunArguments, output_dir: str, seed: int, *, build: bool = True) -> ClusteredCorpus:
    """The clustered corpus of a run: taken as it is where `corpus` names one, else built once and kept.

    Args:
        run ([`RunArguments`]): The arguments.
        output_dir (`str`): Run folder; the corpus is kept in `corpus/` below it where `corpus_dir` does not say.
        seed (`int`): Seeds clustering and order.
        build (`bool`, *optional*, defaults to `True`): Build it where it is not there; `False` for processes that come
            after the one that did.

    Raises:
        [`CorpusError`]: If it cannot be read or built.
        [`ConfigError`]: If the kept corpus was built from other settings.
    """
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus, find_clustered
    from equal_hf.corpus.dataset import open_dataset

    if (corpus := find_clustered(run.corpus, run.corpus_revision)) is not None:
        return corpus
    kept = Path(run.corpus_dir) if run.corpus_dir else Path(output_dir) / "corpus"
    if not (kept / "corpus.json").is_file():
        if not build:
            raise ConfigError(f"no corpus in {kept}: every process must see the same `corpus_dir`")
        dataset = open_dataset(
            run.corpus, name=run.corpus_config, split=run.corpus_split, revision=run.corpus_revision
        )
        ClusteredCorpus.build(
            dataset,
            kept,
            embedder=run.embedder,
            n_clusters=run.clusters,
            text_column=run.text_column,
            id_column=run.id_column,
            min_characters=run.min_characters,
            seed=seed,
        )
    return ClusteredCorpus.load(kept)


def open_targets(run: RunArguments, seed: int) -> dict[str, Target]:
    """The target tasks of a run by name; the only one of a run that has one is called `"target"`.

    Raises:
        [`TargetError`]: If a split or column is missing.
        [`ConfigError`]: If settings do not fit the targets.
    """
    sizes: dict[str, Any] = {"n_reference": run.n_reference, "n_validation": run.n_validation, "n_test": run.n_test}
    return {name: load_target(**settings, **sizes, seed=seed) for name, settings in target_settings(run).items()}


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
    if run.extractor != "endpoint":
        raise ConfigError(f"`extractor` is {run.extractor!r}: set it to 'endpoint' or 'explicit'")
    if not run.extractor_url:
        raise ConfigError("`extractor_url` is not set: name the endpoint, such as http://localhost:8080")
    from equal_hf.extraction.budget import Prices
    from equal_hf.extraction.endpoint_extractor import EndpointExtractor

    return EndpointExtractor(
        endpoint_config(run),
        prompt=make_prompt(run, targets, seed),
        seed=seed,
        prices=Prices(run.price_per_million_prompt_tokens, run.price_per_million_completion_tokens),
        store=Path(run.response_store) if run.response_store else Path(output_dir) / "responses.sqlite",
    )


def endpoint_config(run: RunArguments) -> EndpointConfig:
    """The endpoint's settings of a run: its `extractor_…` arguments, and the key from the environment.

    Args:
        run ([`RunArguments`]): The arguments.
    """
    from equal_hf.extraction.config import EndpointConfig

    return take(EndpointConfig, run, "extractor_", api_key=run.extractor_api_key or os.environ.get("EQUAL_API_KEY"))


def make_prompt(run: RunArguments, targets: Mapping[str, Target] | None, seed: int) -> PromptTemplate:
    """The extraction prompt of a run.

    Args:
        run ([`RunArguments`]): The arguments.
        targets (`Mapping[str, Target]`, *optional*): Where `extractor_examples` are drawn from, in turn where there
            are several; none are shown without it.
        seed (`int`): Draws them.

    Raises:
        [`ConfigError`]: If the prompt cannot be read or has no place for examples.
    """
    from equal_hf.extraction.prompts.template import PromptTemplate

    examples: tuple[tuple[str, str], ...] = ()
    if (wanted := run.extractor_examples) and targets:
        parts = [target.reference for target in targets.values()]
        drawn = [random.Random(seed).sample(part, min(wanted, len(part))) for part in parts]
        in_turn = [item for item in chain.from_iterable(zip_longest(*drawn)) if item is not None]
        examples = tuple((item.question, item.answer) for item in in_turn[:wanted])
    if run.extractor_prompt:
        return PromptTemplate.load(run.extractor_prompt, examples)
    return PromptTemplate(examples=examples)


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
        make_bandit(run, policy),
        make_rewards(run),
        args,
        reference={name: target.reference for name, target in targets.items()},
        protected=[item for target in targets.values() for item in (*target.validation, *target.test)],
    )


def make_bandit(run: RunArguments, name: str | None = None) -> Bandit:
    """The policy of a run, or the one of that name.

    Raises:
        [`ConfigError`]: If the name is unknown.
    """
    name = name or run.bandit
    makers: dict[str, Callable[[], Bandit]] = {
        "ucb": lambda: UCB(run.alpha, run.prior_weight, run.neighbour_radius, run.bandit_discount, run.neighbours),
        "thompson": lambda: Thompson(
            prior_weight=run.prior_weight,
            neighbour_radius=run.neighbour_radius,
            discount=run.bandit_discount,
            neighbours=run.neighbours,
        ),
        "linucb": lambda: LinUCB(run.alpha, discount=run.bandit_discount),
        "exp3": lambda: EXP3(discount=run.bandit_discount),
        "greedy": Greedy,
        "uniform": Uniform,
    }
    if name not in makers:
        raise ConfigError(f"`bandit` is {name!r}: set it to one of {', '.join(makers)}")
    return makers[name]()


def make_rewards(run: RunArguments) -> list[Callable[..., list[float | None]]]:
    """The reward functions of a run.

    Raises:
        [`ConfigError`]: If one is paid per cost and there is no price.
    """

    def make(name: str) -> Callable[..., list[float | None]]:
        if not name.endswith("_per_cost"):
            return REWARD_FUNCTIONS[name]
        prices = run.price_per_million_prompt_tokens, run.price_per_million_completion_tokens
        return per_cost(REWARD_FUNCTIONS[name.removesuffix("_per_cost")], *prices)

    return [make(name) for name in run.reward_funcs]
