"""Settings of a run that collects data; the trainer's settings (`EqualConfig`) are these and TRL's.

>>> CollectorConfig(arms_per_round=5, documents_per_arm=4, max_documents=50).planned_rounds
3
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import ClassVar

from equal_hf.errors import ConfigError
from equal_hf.filters.config import FilterConfig
from equal_hf.selection.document_costs import BUDGETS
from equal_hf.selection.pair_value import DEFAULT_PAIR_VALUES, PAIR_VALUES, check_pair_values
from equal_hf.utils.effective import SEVERAL, AllNeeds, Needs, Unless

DOCUMENT_ORDERS = ("value", "nearest", "random")
DRAWS = ("document", "cluster")
CALLS: Needs = {"extractor": ["endpoint"]}  # what calls of an endpoint need
# What drawing by document needs: a policy whose scores are expectations and a correction, and what predicts them.
BY_DOCUMENT: Needs = {
    "bandit": ["ucb", "thompson", "greedy"],
    "document_order": ["value"],
    "reward_funcs": ["value"],
}

logger = logging.getLogger(__name__)


def current_document_order(name: str) -> str:
    """The name that an order has today; the name of an earlier version is replaced, with a warning.

    >>> current_document_order("promise"), current_document_order("nearest")
    ('value', 'nearest')
    """
    if name != "promise":
        return name
    logger.warning("The document order 'promise' is called 'value' now")
    return "value"


def check_explore(share: float) -> None:
    """Refuse what is no share of documents.

    Raises:
        [`ConfigError`]: With the setting.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"`explore` is {share}: set it from 0, for nothing, to 1")


@dataclass
class CollectorConfig(FilterConfig):
    """Settings of [`EqualDataCollector`]: those of [`FilterConfig`], and these.

    Args:
        output_dir (`str`, *optional*, defaults to `"equal_output"`): The run folder: records, checkpoints, dataset.
        seed (`int`, *optional*, defaults to `42`): Seeds every choice of the run.
        num_rounds (`int`, *optional*): Rounds at most. Where it is left out, as many as the document budget is good
            for.
        arms_per_round (`int`, *optional*, defaults to `50`): Clusters pulled a round.
        documents_per_arm (`int`, *optional*, defaults to `10`): Documents drawn a pull.
        max_documents (`int`, *optional*): Hard limit on documents.
        max_prompt_tokens (`int`, *optional*): Hard limit on prompt tokens, cached replies included.
        max_completion_tokens (`int`, *optional*): Hard limit on completion tokens, cached replies included.
        max_cost (`float`, *optional*): Hard limit on money, in the currency of the extractor's prices, unanswered
            attempts included; a response from the store costs nothing.
        review_after (`int`, *optional*): Stop once after so many rounds and show the best, worst and oddest pairs.
            Started again the run goes on, also under another prompt, extractor or target.
        stop_when (`float`, *optional*): End the run when that share of the useful pairs that its whole budget is
            expected to find is found, by the forecast of the last round.
        max_cost_per_useful_pair (`float`, *optional*): End the run when the next useful pairs are expected to cost
            more each, in the currency of the prices.
        feedback_lag (`int`, *optional*): Round r is selected from the rewards of rounds up to r - 1 - lag. With 1 the
            next round is extracted while this one trains. Where it is left out, a run that goes on keeps its own, and
            a new one has 1 in the closed loop where an endpoint extracts, else 0.
        document_order (`str`, *optional*, defaults to `"value"`): In which order a cluster's documents are drawn:
            the highest expected value first (`"value"`), `"nearest"` to the reference first, or `"random"`.
        draw_by (`str`, *optional*, defaults to `"document"`): `"document"` draws the documents of the highest expected
            value in all clusters, `arms_per_round * documents_per_arm` of them; `"cluster"` draws `documents_per_arm`
            from each of the best `arms_per_round` clusters, as the paper does. A policy without expectations
            (`uniform`, `exp3`, `prior_weight` 0) and a run without the reward `value` draw by cluster.
        explore (`float`, *optional*, defaults to `0.05`): Share of the documents that come from clusters of which none
            was drawn yet, by their sizes; where documents are drawn by document.
        budget_in (`str`, *optional*, defaults to `"auto"`): What the value of documents is weighed against:
            `"documents"`, `"tokens"` or `"money"`, which needs prices; `"auto"` is the limit that the run begins with:
            money, else tokens, else documents.
        discount (`float`, *optional*, defaults to `1.0`): Weight that what was learned of documents keeps from round
            to round; below 1 where corpus or target drift. (A policy has a discount of its own.)
        pair_values (`list[str]`, *optional*, defaults to `["likeness", "grade"]`): What says how much pairs are worth,
            and so teaches what documents are: `"likeness"`, near the five nearest of the reference and of its form;
            `"nearness"` to the mean of the reference, to the five `"nearest"` of it, the `"grade"` of the extracting
            model (`extractor_grade`), which counts only where there is one and as far as it is reliable, or
            `"influence"`, the agreement of gradients of pairs and validation set, for which a trainer is needed: of 64
            pairs a round, once it was trained on.
        pair_value_weights (`list[float]`, *optional*): One weight each; where left out, 4 for grades and 1 for others.
        target_weights (`list[float]`, *optional*): With several targets, what each counts; the same where left out.
        reward_weights (`list[float]`, *optional*): One weight a reward function; all 1 where it is left out.
    """

    needs: ClassVar[AllNeeds] = {
        "max_prompt_tokens": CALLS,
        "max_completion_tokens": CALLS,
        "document_order": {"bandit": Unless(("uniform",))},
        "draw_by": BY_DOCUMENT,
        "explore": {"draw_by": ["document"], **BY_DOCUMENT},
        "discount": {"bandit": Unless(("uniform",)), "document_order": ["value"]},
        "pair_values: grade": {**CALLS, "extractor_grade": [True]},
        "pair_value_weights": {"pair_values": SEVERAL},
        "target_weights": {"target": SEVERAL},
        "reward_weights": {"reward_funcs": SEVERAL},
    }

    output_dir: str = field(
        default="equal_output", metadata={"help": "The run folder: records, checkpoints and the dataset."}
    )
    seed: int = field(default=42, metadata={"help": "Seeds every choice of the run."})
    num_rounds: int | None = field(
        default=None, metadata={"help": "Rounds at most; left out, as many as the document budget is good for."}
    )
    arms_per_round: int = field(default=50, metadata={"help": "Clusters pulled a round."})
    documents_per_arm: int = field(default=10, metadata={"help": "Documents drawn a pull."})
    max_documents: int | None = field(default=None, metadata={"help": "Hard limit on documents."})
    max_prompt_tokens: int | None = field(default=None, metadata={"help": "Hard limit on prompt tokens."})
    max_completion_tokens: int | None = field(default=None, metadata={"help": "Hard limit on completion tokens."})
    max_cost: float | None = field(default=None, metadata={"help": "Hard limit on money."})
    review_after: int | None = field(
        default=None, metadata={"help": "Stop once after so many rounds and show some pairs; start again to go on."}
    )
    stop_when: float | None = field(
        default=None,
        metadata={
            "help": "End the run when that share of the useful pairs its budget can find is found, as forecast."
        },
    )
    max_cost_per_useful_pair: float | None = field(
        default=None, metadata={"help": "End the run when the next useful pairs are expected to cost more each."}
    )
    feedback_lag: int | None = field(
        default=None,
        metadata={
            "help": "Round r is selected from the rewards of rounds up to r - 1 - lag (0, or 1 to extract while "
            "training); left out, 1 in the closed loop where an endpoint extracts, else 0."
        },
    )
    document_order: str = field(
        default="value",
        metadata={
            "help": "Order inside a cluster: highest expected value first, nearest to the reference first, or random.",
            "choices": [*DOCUMENT_ORDERS],
        },
    )
    draw_by: str = field(
        default="document",
        metadata={
            "help": "Draw the best documents of all clusters, or some of each of the best clusters.",
            "choices": [*DRAWS],
        },
    )
    explore: float = field(
        default=0.05, metadata={"help": "Share of documents from clusters of which none was drawn yet."}
    )
    budget_in: str = field(
        default="auto",
        metadata={"help": "What value is weighed against; auto is the limit that is set.", "choices": [*BUDGETS]},
    )
    discount: float = field(
        default=1.0, metadata={"help": "Weight that what was learned of documents keeps from round to round."}
    )
    pair_values: list[str] = field(
        default_factory=lambda: [*DEFAULT_PAIR_VALUES],
        metadata={"help": f"What says what pairs are worth: {', '.join(PAIR_VALUES)}."},
    )
    pair_value_weights: list[float] | None = field(
        default=None, metadata={"help": "One weight each of these; where left out, 4 for grades and 1 for others."}
    )
    target_weights: list[float] | None = field(
        default=None, metadata={"help": "With several targets, what each counts; the same where left out."}
    )
    reward_weights: list[float] | None = field(
        default=None, metadata={"help": "One weight a reward function; all 1 where left out."}
    )

    def __post_init__(self) -> None:
        FilterConfig.__post_init__(self)
        if self.output_dir == "":
            raise ConfigError("`output_dir` is empty: name the run folder, or leave it out")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"`seed` is {self.seed}: set it to 0 or more, and below 2**32")
        for weights in ("target_weights", "reward_weights"):
            if not all(map(math.isfinite, getattr(self, weights) or ())):
                raise ConfigError(f"`{weights}` is {getattr(self, weights)}: every weight has to be finite")
        for name in ("num_rounds", "arms_per_round", "documents_per_arm", "max_documents", "review_after"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` is {value}, but a run needs at least 1: set `{name}` to 1 or more")
        for name, least in (("max_prompt_tokens", 1), ("max_completion_tokens", 1), ("max_cost", 1e-9)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"`{name}` is {value}, which pays for nothing: raise it, or leave it out for no cap")
        if self.stop_when is not None and not 0 < self.stop_when < 1:
            raise ConfigError(f"`stop_when` is {self.stop_when}: set it between 0 and 1, such as 0.9, or leave it out")
        most = self.max_cost_per_useful_pair
        if most is not None and not 0 < most < math.inf:
            raise ConfigError(f"`max_cost_per_useful_pair` is {most}: set it above 0, or leave it out")
        if not 0 < self.discount <= 1:
            raise ConfigError(f"`discount` is {self.discount}: set it above 0 and to 1 at most, 1 to forget nothing")
        if self.feedback_lag not in (None, 0, 1):
            raise ConfigError(
                f"`feedback_lag` is {self.feedback_lag}: set it to 1 to extract while training, to 0, or leave it out"
            )
        self.document_order = current_document_order(self.document_order)
        if self.document_order not in DOCUMENT_ORDERS:
            raise ConfigError(
                f"`document_order` is {self.document_order!r}: set it to one of {', '.join(DOCUMENT_ORDERS)}"
            )
        for name, choices in (("draw_by", DRAWS), ("budget_in", BUDGETS)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"`{name}` is {getattr(self, name)!r}: set it to one of {', '.join(choices)}")
        check_explore(self.explore)
        check_pair_values(self.pair_values, self.pair_value_weights)
        if self.num_rounds is None and self.max_documents is None:
            raise ConfigError("nothing says when to stop: set `num_rounds`, or a budget in `max_documents`")

    @property
    def planned_rounds(self) -> int:
        """Rounds the run has at most."""
        if self.num_rounds is not None:
            return self.num_rounds
        assert self.max_documents is not None
        return math.ceil(self.max_documents / (self.arms_per_round * self.documents_per_arm))
