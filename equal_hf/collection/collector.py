"""`EqualDataCollector`: spends calls on the clusters worth one, and yields rounds of question-answer pairs.

It *collects* data, as a reinforcement-learning data collector does; collating batches stays TRL's job. Alone it needs
neither GPU nor trainer:

```python
corpus = ClusteredCorpus.load("corpus")
extractor = EndpointExtractor("http://localhost:8080")
collector = EqualDataCollector(corpus, extractor, reference=items, args=CollectorConfig(max_documents=500))
for round in collector.rounds():
    print(round.index, len(round.pairs))
```

Inside [`EqualTrainer`] a round is opened before its epoch and its rewards are recorded after its evaluation.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from equal_hf.collection.config import CollectorConfig
from equal_hf.collection.fill_round import fill_round
from equal_hf.collection.fingerprint import run_fingerprint
from equal_hf.collection.opening import open_run
from equal_hf.collection.round_parts import (
    ExtractedDraws,
    RoundParts,
    assemble,
    prefetch_documents,
    require_a_response,
)
from equal_hf.collection.run_end import run_end
from equal_hf.collection.run_forecast import RunForecast, forecast_run
from equal_hf.collection.spending import Spending, document_costs
from equal_hf.errors import ConfigError, ExtractionError, ResumeError
from equal_hf.extraction.protocol import PaidExtractor
from equal_hf.filters.base import Filter
from equal_hf.records.changes import limits_at_start
from equal_hf.records.history import History
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.selection.bandits import UCB, Bandit
from equal_hf.selection.pair_value import late_values
from equal_hf.selection.rewards import reward_name, stage_of, value_reward
from equal_hf.selection.selector import Draw, Selector
from equal_hf.target.shares import target_shares
from equal_hf.types import QAPair, Round, Usage

if TYPE_CHECKING:
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.corpus.embedder import Embedder
    from equal_hf.extraction.protocol import Extractor
    from equal_hf.target.items import TargetItem

logger = logging.getLogger(__name__)

# What is recorded of the context that evaluated rewards are paid from.
METRICS = ("eval_loss", "previous_eval_loss", "target_losses", "trained_rows", "replayed_rows")


class EqualDataCollector:
    """Selects clusters, draws documents, extracts pairs and keeps the books.

    Args:
        corpus ([`ClusteredCorpus`]): Where documents come from; its clusters are the bandit's arms.
        extractor ([`Extractor`]): Turns documents into pairs.
        bandit ([`Bandit`], *optional*): The policy; [`UCB`] with its defaults where it is left out.
        reward_funcs (`list[Callable]`, *optional*): Reward functions; `[value_reward]` where it is left out.
        args ([`CollectorConfig`], *optional*): Settings; an `EqualConfig` is one.
        reference (`Sequence[TargetItem]` or `Mapping[str, Sequence[TargetItem]]`): Items of the target task that say
            what is wanted; of several targets by name, whose rewards are paid and reported for each.
        protected (`Sequence[TargetItem]`, *optional*): Items no pair may repeat, such as validation and test; the
            reference always counts among them.
        embedder ([`Embedder`], *optional*): Embeds pairs and reference; the one the corpus was embedded with where it
            is left out.

    Raises:
        [`ConfigError`]: If weights do not fit the reward functions, or the reference is empty.
    """

    def __init__(
        self,
        corpus: ClusteredCorpus,
        extractor: Extractor,
        bandit: Bandit | None = None,
        reward_funcs: Sequence[Callable[..., list[float | None]]] | None = None,
        args: CollectorConfig | None = None,
        *,
        reference: Sequence[TargetItem] | Mapping[str, Sequence[TargetItem]],
        protected: Sequence[TargetItem] = (),
        embedder: Embedder | None = None,
    ) -> None:
        self.corpus, self.extractor = corpus, extractor
        self.bandit: Bandit = bandit if bandit is not None else UCB()
        self.args = args if args is not None else CollectorConfig(num_rounds=10)
        self.reward_funcs = list(reward_funcs) if reward_funcs is not None else [value_reward]
        targets = reference if isinstance(reference, Mapping) else {"target": reference}
        self.targets = {name: list(items) for name, items in targets.items()}
        self.reference = [item for items in self.targets.values() for item in items]
        self.protected = [*self.reference, *protected]
        self._embedder = embedder
        if not self.targets or not all(self.targets.values()):
            raise ConfigError("the reference is empty: pass items of the target task as `reference`")
        self.target_shares = target_shares(self.targets, self.args.target_weights)
        weights = self.args.reward_weights or [1.0] * len(self.reward_funcs)
        if len(weights) != len(self.reward_funcs):
            raise ConfigError(
                f"`reward_weights` has {len(weights)} values for {len(self.reward_funcs)} reward functions: "
                "give one each"
            )
        self.stages = {reward_name(function): stage_of(function) for function in self.reward_funcs}
        if len(self.stages) != len(self.reward_funcs):
            raise ConfigError("two reward functions have the same name: rename one, records are kept by name")
        self.reward_weights = dict(zip(self.stages, weights, strict=True))
        self.spending = Spending(self.args, extractor)
        self.run_file, self.records = RunFile(self.args.output_dir), RoundRecords(self.args.output_dir)
        self.trains = False  # whether a model is trained while rounds are extracted
        self.extra_fingerprint: dict[str, Any] = {}
        self.config: dict[str, Any] = {}  # what run.json and the card tell of the run beside `args`
        self._history: History | None = None
        self.given_up = threading.Event()
        self._doubted: set[str] = set()  # judges of pairs that were told of
        self._told_of_end = False

    # -- what rounds are decided by --------------------------------------------------------------------------------

    @cached_property
    def embedder(self) -> Embedder:
        """Embeds pairs and reference; loaded when first used, so that idle ranks never load it."""
        return self._embedder if self._embedder is not None else self.corpus.open_embedder()

    @cached_property
    def selector(self) -> Selector:
        """Policy, prior, value model and draws; a fold over the recorded rounds, which `open` feeds it."""
        args = self.args
        if not self.corpus.has_terms:
            logger.info("%s has no sketches of terms: documents are judged by embedding alone", self.corpus.source)
        return Selector(
            self.bandit,
            self.reward_funcs,
            self.corpus.profiles,
            {name: self.embedder.encode([item.text() for item in items]) for name, items in self.targets.items()},
            self.corpus.embeddings,
            weights=args.reward_weights,
            target_weights=self.target_shares,
            order=args.document_order,
            documents_per_arm=args.documents_per_arm,
            discount=args.discount,
            pair_values=args.pair_values,
            pair_value_weights=args.pair_value_weights,
            questions={name: [item.question for item in items] for name, items in self.targets.items()},
            costs=document_costs(
                args.budget_in,
                limits_at_start(self.run_file.read()) if self.records.indices() else vars(args),
                self.extractor.prices if isinstance(self.extractor, PaidExtractor) else None,
            ),
            draw_by=args.draw_by,
            explore=args.explore,
            terms=self.corpus.terms if self.corpus.has_terms else None,
            sample_terms=self.corpus.profiles.sample_terms,
        )

    @cached_property
    def feedback_lag(self) -> int:
        """`feedback_lag` as it is set; else that of the run on record; else 1 where a training hides extraction."""
        if self.args.feedback_lag is not None:
            return self.args.feedback_lag
        if self.run_file.exists():
            return int(self.run_file.read()["fingerprint"].get("feedback_lag", 0))
        return int(self.trains and isinstance(self.extractor, PaidExtractor))

    @cached_property
    def filters(self) -> list[Filter]:
        """Quality filters of the run; made when first used, since benchmarks to decontaminate against are read."""
        from equal_hf.filters.build import build_filters

        told = getattr(getattr(self.extractor, "prompt", None), "source", "")  # an extractor need not have a prompt
        return build_filters(self.args, self.protected, told)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides what the records hold; a run is resumed under the same one only."""
        return run_fingerprint(self) | self.extra_fingerprint

    # -- opening and resuming --------------------------------------------------------------------------------------

    def open(self) -> History:
        """Start the run in its folder, or take up what is recorded there. Done once; called by whatever needs it.

        Raises:
            [`ResumeError`]: If the folder holds another run.
        """
        if self._history is None:
            self._history = open_run(self)
        return self._history

    @property
    def history(self) -> History:
        """What the run has done so far."""
        return self.open()

    @property
    def waits_for_review(self) -> bool:
        """Whether the run has come to `review_after` and was not reviewed yet; no further round is collected then."""
        return (
            self.args.review_after is not None
            and self.history.rounds == self.args.review_after
            and self.run_file.read().get("reviewed") != self.args.review_after
        )

    def close(self) -> None:
        """Let other processes open the run folder."""
        self.run_file.close()

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Publish the rounds recorded so far as a dataset; safe to call again when there are more.

        Args:
            repo_id (`str`): `name` or `namespace/name`; created where there is none.
            private (`bool`, *optional*): Visibility of a repository that is created.
            token (`str`, *optional*): Hub token; the stored one where it is left out.

        Returns:
            `str`: The dataset's address.
        """
        from equal_hf.publishing.hub import publish_dataset

        return publish_dataset(self.records.run_dir, repo_id, private=private, token=token)

    def give_up(self) -> None:
        """End a collection that is under way in another thread; its round is not recorded, and none follows."""
        self.given_up.set()
        if (interrupt := getattr(self.extractor, "interrupt", None)) is not None:
            interrupt()

    # -- a round ---------------------------------------------------------------------------------------------------

    def rounds(self) -> Iterator[Round]:
        """Collect without a trainer: extract a round, record the rewards that extraction tells, yield it.

        Recorded rounds come first, from their records, so that a run that was stopped goes on where it was.

        Raises:
            [`ConfigError`]: By [`require_no_trainer`].
        """
        self.require_no_trainer()
        index = 0
        while (round := self.collect(index)) is not None:
            self.record_rewards(round)
            yield round
            index += 1

    def require_no_trainer(self) -> None:
        """Refuse what only a trainer tells, before a run folder is made.

        Raises:
            [`ConfigError`]: If no reward can be known without a trainer, or pairs are valued by one.
        """
        if "influence" in self.args.pair_values:
            raise ConfigError(
                "`pair_values` names influence, which only a trainer tells: leave it out, or pass the collector to "
                "EqualTrainer"
            )
        if "extracted" not in self.stages.values():
            raise ConfigError(
                "every reward function waits for an evaluation, which only a trainer makes: "
                "add `transport_reward`, or pass the collector to EqualTrainer"
            )

    def collect(self, index: int) -> Round | None:
        """Round `index`: from its record where there is one, else selected, drawn, extracted and recorded.

        Returns:
            [`Round`] or `None`: `None` where the run ended before it.

        Raises:
            [`ResumeError`]: If a round that the selection needs has no recorded rewards, or a round before
                this one is not on record.
        """
        history = self.open()
        if index < history.rounds:
            return self.records.load(index)
        if self.waits_for_review:
            return None
        if history.finished or index >= self.args.planned_rounds:
            self._tell_of_end()
            return None
        if index > history.rounds:
            raise ResumeError(
                f"round {index} is next but {self.args.output_dir} has records of {history.rounds} rounds only: the "
                "checkpoint is newer than the records; restore them, or remove the checkpoints and train from records"
            )
        self._advance(through=index - 1 - self.feedback_lag)
        self.run_file.note("ended", None)  # under earlier limits
        budget = None if self.args.max_documents is None else self.args.max_documents - history.documents
        extracted = ExtractedDraws(
            self.corpus,
            lambda documents, used: self.extractor.extract(documents, self.spending.allowance(history.usage + used)),
            lambda draws: prefetch_documents(self.selector, self.corpus, self.args, index + 1, draws),
        )
        draws, full = self._extract(index, extracted, budget)
        if not draws:
            history.finished = True
            self._tell_of_end()
            return None
        parts = assemble(draws, extracted.by_arm, self.filters, self._raw_reply)
        ends = sum(len(draw.rows) for draw in draws) in (budget, int(self.selector.remaining.sum()))
        last = not full or ends or index + 1 >= self.args.planned_rounds
        return self._record(index, parts, extracted, last)

    def _extract(self, index: int, extracted: ExtractedDraws, budget: int | None) -> tuple[list[Draw], bool]:
        """Draw and extract a round; what was extracted, and whether the round is full."""
        if self.feedback_lag:  # the round before is told of while this one is paid for
            self.spending.by_round(index - 1)
        args = self.args
        draws, full = fill_round(
            self.selector, args.arms_per_round, args.documents_per_arm, args.seed, index, budget, extracted.fits
        )
        if isinstance(self.extractor, PaidExtractor):  # an endpoint may have refused what it took before
            self.run_file.note("endpoints", self.extractor.describe())
        if self.given_up.is_set():
            raise ExtractionError(f"round {index} was given up while it was extracted")
        if draws:
            require_a_response(extracted.extractions)
        return draws, full

    def _record(self, index: int, parts: RoundParts, extracted: ExtractedDraws, last: bool) -> Round:
        """The round, with the rewards that are known by now, once it is on record."""
        round = Round(
            index=index,
            decisions=parts.decisions,
            pairs=parts.pairs,
            usage=sum(parts.usage_by_arm, Usage()),
            rejected=parts.rejected,
            rewards_through=self.selector.advanced - 1,
            last=last,
            refused=len(extracted.extractions) - sum(len(decision.rows) for decision in parts.decisions),
        )
        embeddings = self.embedder.encode([pair.text() for pair in round.pairs])
        known = self.selector.take(round, embeddings, parts.document_embeddings, parts.usage_by_arm)
        rewards = self.selector.rewards("extracted", round, **known)
        round = replace(round, rewards=rewards, last=last or self._ends_with(round))
        self._tell_of_judges()
        values = known["pair_values"].columns(list(self.target_shares.values()))
        self.records.write_extracted(
            round, embeddings, extracted.documents, parts.usage_by_arm, parts.document_embeddings, values
        )
        self.history.extracted(round)
        if round.last:
            self._tell_of_end()
        return round

    def record_rewards(self, round: Round, **context: Any) -> dict[str, Any]:
        """Record the rewards of a round, and return that record.

        A round whose rewards are recorded keeps its record, whatever `context` says now.

        Args:
            round ([`Round`]): The round.
            **context: What evaluated reward functions need (`eval_loss`, `previous_eval_loss`, `trained_rows`,
                `model`), and `pair_influence`, by position. Without it, rewards that wait for an evaluation are
                `None`.
        """
        self.open()
        if (record := self.records.reward_record(round.index)) is not None:
            return record
        rewards = dict(round.rewards)
        if context:
            embeddings, losses = self.records.embeddings(round.index), self.selector.loss_history(round, context)
            rewards |= self.selector.rewards(
                "evaluated", round, pair_embeddings=embeddings, loss_history=losses, **context
            )
        numbers = {name: context.get(name) for name in METRICS if name in context}
        late = late_values(round, context)
        mixed = self.selector.record_rewards(round, rewards, numbers, late)
        record = {"index": round.index, "rewards": rewards, "mixed": mixed, "metrics": numbers}
        record |= {"pair_values": late} if late else {}
        record["useful_pairs"] = self.selector.useful[round.index]
        if (ahead := self.forecast(round.index)) is not None:
            record["forecast"] = ahead.record()
        self.records.write_reward_record(round.index, record)
        return record

    def credit(self, round: Round, **context: Any) -> dict[str, Any]:
        """Earlier name of [`record_rewards`]."""
        warnings.warn("`credit` is called `record_rewards` now", FutureWarning, stacklevel=2)
        return self.record_rewards(round, **context)

    def forecast(self, through: int) -> RunForecast | None:
        """What the rest of the budget buys, as it is known after round `through`.

        Returns:
            [`RunForecast`] or `None`: `None` in the first rounds, when too little is known, and where nothing is left.
        """
        counts, usages = self.history.document_counts[: through + 1], self.history.usages[: through + 1]
        return self._forecast(counts, usages)

    def found(self) -> dict[str, float]:
        """What the run found, by the names that summaries use: useful pairs and, if something of the budget is left,
        their share of those that it could find."""
        known = self.forecast(self.history.rounds - 1)
        share = {} if known is None else {"found_share": known.found_share}
        return {"useful_pairs": sum(self.selector.useful), **share}

    # -- parts of a round ------------------------------------------------------------------------------------------

    def _advance(self, through: int) -> None:
        if through >= self.selector.rewarded_rounds:
            raise ResumeError(
                f"round {self.selector.rewarded_rounds} has no recorded rewards, from which round "
                f"{through + 1 + self.feedback_lag} is selected: record rewards in order, or raise `feedback_lag`"
            )
        self.selector.advance(through)

    def _forecast(self, documents: Sequence[int], usages: Sequence[Usage]) -> RunForecast | None:
        useful, corpus = self.selector.useful[: len(documents)], int(self.corpus.sizes.sum())
        return forecast_run(documents, usages, useful, self.args, self.spending.prices, corpus)

    def _ends_with(self, round: Round) -> bool:
        """Whether the run ends by itself with a round that is not on record yet."""
        if self.args.stop_when is None and self.args.max_cost_per_useful_pair is None:
            return False
        history = self.history
        known = self._forecast([*history.document_counts, round.documents], [*history.usages, round.usage])
        reason = None if known is None else known.ends_run(self.args)
        if reason is not None:
            logger.info("Round %d is the last: %s", round.index + 1, reason)  # counted as in a run's lines
        return reason is not None

    def _tell_of_end(self) -> None:
        """Say once why the run ended and what is left of its limits, and note it."""
        if not self._told_of_end:
            self._told_of_end = True
            end = run_end(
                self.args,
                self.spending.spent(self.history),
                int(self.selector.remaining.sum()),
                self.forecast(self.history.rounds - 1),
            )
            logger.info("The run ends after %d rounds: %s", self.history.rounds, end.told(self.args))
            self.run_file.note("ended", {"by": end.by, "left": end.left})

    def _tell_of_judges(self) -> None:
        """Note how reliable grades are by what was seen of them, and say once that they are not."""
        told = self.selector.pair_values.told_of_judges()
        if told:
            self.run_file.note("reliability", told)
        for name, facts in told.items():
            if "why" in facts and name not in self._doubted:
                self._doubted.add(name)
                logger.warning(
                    "The %ss of %d pairs of %d documents say little: %s. They count %.0f %% of their weight in what "
                    "pairs are worth, and nearness the rest. A better model may grade better; "
                    "`extractor_grade: false` saves what grades cost.",
                    name,
                    facts["pairs"],
                    facts["documents"],
                    facts["why"],
                    100 * facts["weight"],
                )

    def _raw_reply(self, pair: QAPair) -> str:
        return self.extractor.raw_reply(pair) if isinstance(self.extractor, PaidExtractor) else ""

    def totals(self, through: int) -> dict[str, float]:
        """Sums over rounds 0 to `through` by the names that trackers use, and what was paid by then."""
        useful = {"useful_pairs": sum(self.selector.useful[: through + 1])}
        return self.history.totals(through) | useful | self.spending.by_round(through)
