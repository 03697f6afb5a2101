"""What a model makes of the test items: test loss and exact match, before training and after.

`evaluation/untouched.json` in the run folder tells it of the model as it was before training, and
`evaluation/trained.json` of what training made of it; the replies are beside them (see [`ReplyFile`]).
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from equal_hf.records.json_files import write_json
from equal_hf.records.summary import TRAINED, UNTOUCHED, evaluation_folder, measured
from equal_hf.target.evaluation_sets import evaluation_sets
from equal_hf.target.shares import weighted_mean
from equal_hf.training.exact_match.forms import MEASURES
from equal_hf.training.exact_match.measure import Question, measure_exact_match, with_result
from equal_hf.training.main_process import on_main
from equal_hf.training.sharding import sharding

if TYPE_CHECKING:
    from equal_hf.target.items import Target
    from equal_hf.training.exact_match.config import ExactMatchConfig
    from equal_hf.training.trainer import EqualTrainer

logger = logging.getLogger(__name__)

_WHEN = {UNTOUCHED: "before training", TRAINED: "after training"}


def measure_model(
    trainer: EqualTrainer,
    targets: Mapping[str, Target],
    config: ExactMatchConfig,
    *,
    stage: str,
    model: str,
    annotations: str = "strip",
) -> dict[str, float]:
    """Loss on the test parts and, where items have a result, exact match; of several targets, each one's too.

    Args:
        trainer ([`EqualTrainer`]): The trainer; called on every process alike.
        targets (`Mapping[str, Target]`): The target tasks by name.
        config ([`ExactMatchConfig`]): How items are asked.
        stage (`str`): `"untouched"` or `"trained"`.
        model (`str`): What tells the model from others that are measured in this run folder.
        annotations (`str`, *optional*, defaults to `"strip"`): As for [`evaluation_sets`].

    Returns:
        `dict[str, float]`: `test_loss`, `exact_match` and the like, with a standard error `<measure>_stderr`; of
        several targets `<measure>_<target>` too. Empty without a test part.
    """
    if (tests := evaluation_sets(targets, "test", annotations=annotations)) is None:
        return {}
    several = len(targets) > 1
    if trainer.is_world_process_zero():
        items = sum(len(target.test) for target in targets.values())
        logger.info("Measuring the model %s on %s test items", _WHEN[stage], f"{items:,}")
    metrics = trainer.evaluate(tests, metric_key_prefix="test")
    measures = {"test_loss": metrics["test_loss"]}
    if several:
        measures |= {f"test_loss_{name}": metrics[f"test_{name}_loss"] for name in tests}
    for form in config.exact_match_forms:
        found = {
            name: measure_exact_match(
                trainer.model,
                trainer.processing_class,
                Question(
                    with_result(target.test, config.exact_match_items),
                    form,
                    target.reference[: config.exact_match_shots],
                    config.new_tokens(trainer.args.max_length),
                    config.exact_match_batch_tokens,
                ),
                name=f"exact match {_WHEN[stage]}" + (f" ({name}, {form})" if several or form != "chat" else ""),
                folder=evaluation_folder(trainer.run_dir),
                file=f"{stage}-{name}-{form}",
                model_identity=model,
                sharded=sharding(trainer.args) is not None,
            )
            for name, target in targets.items()
        }
        measures |= _together(form, {name: one for name, one in found.items() if one}, trainer, several)
    if matches := {f"test_{name}": value for name, value in measures.items() if name.startswith("exact_match")}:
        trainer.log(matches)
    on_main(lambda: write_json(evaluation_folder(trainer.run_dir) / f"{stage}.json", {"model": model, **measures}))
    return measures


def _together(
    form: str, found: Mapping[str, Mapping[str, float]], trainer: EqualTrainer, several: bool
) -> dict[str, float]:
    """A form's measures of all targets: their mean by the targets' shares, with its standard error, and each."""
    if not found:
        return {}
    shares = trainer.data_collector.target_shares
    measures: dict[str, float] = {}
    for name in MEASURES[form]:
        values = {target: one[name] for target, one in found.items()}
        errors = {target: one[f"{name}_stderr"] for target, one in found.items()}
        weights = {target: weighted_mean({one: float(one == target) for one in found}, shares) for target in found}
        measures[name] = weighted_mean(values, shares)
        measures[f"{name}_stderr"] = math.sqrt(sum((weights[target] * errors[target]) ** 2 for target in found))
        if several:
            measures |= {f"{name}_{target}": value for target, value in values.items()}
            measures |= {f"{name}_{target}_stderr": error for target, error in errors.items()}
    return measures


class UntouchedCallback(TrainerCallback):
    """Measures the model before the first step of a run, once.

    When an epoch begins, trackers and a sharded model are ready, and what it trains on is collected.

    Args:
        trainer ([`EqualTrainer`]): The trainer.
        measure (`Callable[[], Any]`): Measures, on every process alike.
        model (`str`): What tells the model from others; one that was measured before is not measured again.
    """

    def __init__(self, trainer: EqualTrainer, measure: Callable[[], Any], model: str) -> None:
        self._trainer, self._measure, self._model = trainer, measure, model

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure, if nothing is trained yet."""
        if state.global_step or self._trainer.steps_trained:  # the pool after a closed loop begins at step 0 again
            return
        known = on_main(lambda: (measured(self._trainer.run_dir, UNTOUCHED) or {}).get("model"))
        if known != self._model:
            with _same_random_numbers():
                self._measure()


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """What is drawn inside changes nothing that is drawn later: dropout is the same after a start that measured."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


def weights_digest(model: Any) -> str:
    """Tells the weights of a model from others by the first values of each parameter, as far as this process has them.

    Args:
        model (`PreTrainedModel`): The model.
    """
    digest = hashlib.sha256()
    for name, weights in model.named_parameters():
        own = weights.detach()
        own = own.to_local() if hasattr(own, "to_local") else own  # of a sharded one
        digest.update(name.encode() + own.reshape(-1)[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()
