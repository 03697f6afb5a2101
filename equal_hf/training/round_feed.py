"""The collector's rounds as a trainer needs them: rows for an epoch, and rewards from its evaluation.

Lives on the main process only. Knows the order of things - which round an epoch trains on, what fills it up, when the
next one may be collected - and nothing of models or processes.
"""

from __future__ import annotations

import logging
import math
import threading
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.collection.collector import EqualDataCollector
from equal_hf.errors import ConfigError, ExtractionError
from equal_hf.tracking.metrics import round_metrics
from equal_hf.tracking.progress_view import ProgressView
from equal_hf.training.round_rows import sample_own, sample_replay
from equal_hf.types import Messages, QAPair, Round

if TYPE_CHECKING:
    from equal_hf.training.config import EqualConfig

logger = logging.getLogger(__name__)

MAX_WAIT_S = 20.0  # for an extraction that is given up; an endpoint's waits ten seconds for what is paid for


@dataclass(frozen=True, slots=True)
class OpenedRound:
    """What an epoch trains on.

    Args:
        rows (`list[dict[str, Messages]]`): Rows in the order they are taken, a quarter more than a round has, so that
            some may turn out unusable.
        row_arms (`list[int | None]`): For each row the place of its arm among the round's decisions; `None` for
            replay.
        row_pairs (`list[int | None]`): For each row its pair's position in the round; `None` for replay.
        arms (`int`): How many arms the round pulled; 0 for an epoch of replay.
        last (`bool`): No round follows.
        review (`bool`): The run stops after it for a review.
    """

    rows: list[dict[str, Messages]]
    row_arms: list[int | None]
    row_pairs: list[int | None]
    arms: int
    last: bool
    review: bool = False


class RoundFeed:
    """Feeds a trainer from a collector.

    Args:
        collector ([`EqualDataCollector`]): The collector.
        args (`EqualConfig`): The trainer's settings.
    """

    def __init__(self, collector: EqualDataCollector, args: EqualConfig) -> None:
        self.collector, self.args = collector, args
        self.view = ProgressView(args, Path(str(args.output_dir)).name, args.process_index == 0, collector.extractor)
        self.start_loss: float | None = None  # of the evaluation before the first round
        self._round: Round | None = None  # trained on, its rewards not yet recorded
        self._ahead: tuple[int, Future[Round | None]] | None = None
        self._diverged = False

    def open(self) -> tuple[int, bool]:
        """Open the run folder: how many recorded rounds can be trained on, and whether the run's end is among them."""
        history = self.collector.open()
        return history.rounds - _leading_zeros(history.pair_counts), history.finished

    def close(self) -> None:
        """Stop collecting ahead: a round that is still being extracted then is given up, not waited for.

        What its documents got by then is in the response store; a later start asks for the rest.
        """
        if self._ahead is None:
            return
        (index, future), self._ahead = self._ahead, None
        self.collector.give_up()
        try:
            future.result(MAX_WAIT_S)
        except TimeoutError:
            logger.warning("Round %d is still being extracted and will not be recorded: training has ended", index)
            return
        except (Exception, CancelledError) as error:
            logger.info("Round %d, collected ahead, was given up: %s", index, error or type(error).__name__)
        self.collector.given_up.clear()  # nothing is under way: another training may go on

    def collect_all(self) -> tuple[list[dict[str, Any]], bool]:
        """Collect every round there is, by the rewards known at extraction.

        Returns:
            `tuple[list[dict[str, Any]], bool]`: The numbers of all rounds, as a trainer's history that was logged
            before the first step; and whether the run stops here for a review.

        Raises:
            [`ExtractionError`]: If the whole budget gave not a single pair.
        """
        history = self.collector.open()
        known, logged = history.rounds, []
        for round in self.collector.rounds():
            record = self.collector.records.reward_record(round.index)
            metrics = round_metrics(round, record, self.collector.totals(round.index))
            self.view.show(metrics, recorded=round.index < known)
            logged.append({**metrics, "step": 0})
        review = self.collector.waits_for_review
        if not review and not history.pairs:
            raise ExtractionError(_nothing_found(self.collector))
        return logged, review

    def pool(self) -> list[dict[str, Messages]]:
        """Every pair of the run as a training row."""
        records = self.collector.records
        return [pair.messages() for index in records.indices() for pair in records.load(index).pairs]

    def collect(self, epoch: int) -> OpenedRound:
        """The rows of an epoch: the next round that has any, or replay once the rounds are over.

        Raises:
            [`ConfigError`]: If the round before has no rewards, because no evaluation reported `reward_metric`.
            [`ExtractionError`]: If the whole budget gave not a single pair.
        """
        if self._round is not None:
            raise ConfigError(
                f"round {self._round.index} was trained on but no evaluation reported `reward_metric` "
                f"{self.args.reward_metric!r}: set it to a metric that one does, such as eval_loss or eval_<set>_loss"
            )
        history = self.collector.open()
        # Rounds before the first pair have nothing to train on and take no epoch.
        index = epoch + _leading_zeros(history.pair_counts) if epoch else 0
        round = self._collect(index)
        while round is not None and not sum(history.pair_counts[: index + 1]):
            logger.warning("Round %d gave no pairs and there are none to replay: it is not trained on", index)
            loss, nobody = self._loss_before(index), [0] * len(round.decisions)
            self.collector.record_rewards(
                round, eval_loss=loss, previous_eval_loss=loss, trained_rows=nobody, model=None
            )
            index += 1
            round = self._collect(index)
        if not history.pairs:
            raise ExtractionError(_nothing_found(self.collector))
        if round is not None and not round.pairs:
            logger.warning("Round %d gave no pairs: this epoch trains on pairs of earlier rounds", index)
        elif round is None:
            logger.info("Budget or corpus ended before this epoch: it trains on pairs of earlier rounds")
        self._round = round
        rows, row_arms, row_pairs = self._compose(index, round)
        review = self.collector.waits_for_review and index + 1 == self.args.review_after
        if round is not None and not round.last and not review and self.collector.feedback_lag:
            self._look_ahead(index + 1)
        last = round is None or round.last
        return OpenedRound(rows, row_arms, row_pairs, len(round.decisions) if round else 0, last, review)

    def record_rewards(self, loss: float | None, trained_rows: list[int], **context: Any) -> dict[str, float] | None:
        """Record the rewards of the open round; the metrics to log for it, or `None` where no round is open.

        `context` is what further reward functions look at, such as the model.
        """
        if self._round is None:
            return None
        round, self._round = self._round, None
        record = self.collector.record_rewards(
            round,
            eval_loss=self.loss(loss),
            previous_eval_loss=self._loss_before(round.index),
            trained_rows=trained_rows,
            replayed_rows=max(0, self.args.rows_per_round - sum(trained_rows)),
            **context,
        )
        metrics = round_metrics(round, record, self.collector.totals(round.index))
        paid = {decision.arm: reward for decision, reward in zip(round.decisions, record["mixed"], strict=True)}
        known = [(arm, reward) for arm, reward in paid.items() if reward is not None]
        self.view.show(metrics, max(known, key=lambda one: one[1], default=None))
        return metrics

    def loss(self, value: float | None) -> float | None:
        """What `reward_metric` measured, with less being better; `None`, and a warning, where it is not finite."""
        if value is None:
            return None
        if not math.isfinite(value):
            self.diverged(f"`{self.args.reward_metric}` is {value}")
            return None
        return -value if self.args.reward_metric_rises else value

    def diverged(self, what: str) -> None:
        """Say once that training has diverged."""
        if not self._diverged and self.args.process_index == 0:
            logger.warning(
                "Training has diverged: %s. The run goes on without the rewards that need this number, but its model "
                "is of no use. Start another run with a lower `learning_rate`, or with `max_grad_norm`.",
                what,
            )
        self._diverged = True

    def _loss_before(self, index: int) -> float | None:
        if index == 0:
            return self.start_loss
        record = self.collector.records.reward_record(index - 1)
        return None if record is None else record["metrics"].get("eval_loss")

    def _collect(self, index: int) -> Round | None:
        if self._ahead is not None and self._ahead[0] == index:
            round, self._ahead = self._ahead[1].result(), None
            return round
        return self.collector.collect(index)

    def _look_ahead(self, index: int) -> None:
        """Collect the next round while this one trains; by the lag, its selection waits for no reward of this one."""
        future: Future[Round | None] = Future()

        def collect() -> None:
            try:
                future.set_result(self.collector.collect(index))
            except BaseException as error:  # raised again where the round is asked for
                future.set_exception(error)

        # A daemon, since one that is given up must not keep the process from ending.
        threading.Thread(target=collect, name="equal-collect", daemon=True).start()
        self._ahead = index, future

    def _compose(
        self, index: int, round: Round | None
    ) -> tuple[list[dict[str, Messages]], list[int | None], list[int | None]]:
        """Rows of a round in the order they are taken: its own sample, its surplus, replay; their arms and pairs."""
        wanted = self.args.rows_per_round + self.args.rows_per_round // 4 + 1
        rng = np.random.default_rng([self.args.seed, index, 1])
        pairs: list[QAPair] = []
        arms: list[int | None] = []
        own: list[int] = []
        if round is not None:
            by_arm = round.pairs_by_arm()
            arm_of = {position: index for index, positions in enumerate(by_arm) for position in positions}
            own = sample_own(by_arm, rng)[:wanted]
            pairs = [round.pairs[position] for position in own]
            arms = [arm_of[position] for position in own]
        picks = sample_replay(self.collector.history.pair_counts[:index], wanted - len(pairs), rng)
        loaded = {earlier: self.collector.records.load(earlier).pairs for earlier in sorted({r for r, _ in picks})}
        pairs += [loaded[earlier][position] for earlier, position in picks]
        arms += [None] * len(picks)
        return [pair.messages() for pair in pairs], arms, [*own, *([None] * len(picks))]


def _nothing_found(collector: EqualDataCollector) -> str:
    return (
        f"{collector.history.documents} documents gave not a single pair, so there is nothing to train on: the "
        f"reasons are in {collector.records.run_dir}/rounds/*/extracted/rejected.parquet; another extractor, corpus "
        "or target may fit better"
    )


def _leading_zeros(counts: list[int]) -> int:
    return next((index for index, count in enumerate(counts) if count), len(counts))
