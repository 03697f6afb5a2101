"""Which arms, and which pairs, pull the model the way the validation set wants: agreement of gradients.

The idea is LESS's (Xia et al. 2024, arXiv 2402.04333): the gradient of a pair, over the parameters that train, which
with LoRA are few, against that of the validation set. There is one direction to compare with, so a gradient is used up
as soon as it is made and nothing has to be projected to be stored; what can be projected is the comparison, onto the
directions that the validation gradients span (GIST, arXiv 2602.18584), where the rest of a pair's gradient, which
training on other pairs averages out, does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from equal_hf.selection.rewards import known_at
from equal_hf.types import Round

if TYPE_CHECKING:
    import torch
    from torch import nn

    Batch = Mapping[str, torch.Tensor]


@known_at("evaluated")
def influence_reward(
    round: Round,
    *,
    model: nn.Module | None = None,
    arm_batches: Sequence[Batch | None] | None = None,
    validation_batches: Sequence[Batch] = (),
    **context: Any,
) -> list[float | None]:
    """Cosine between the gradient of each arm's pairs and the validation gradient, from -1 to 1.

    Costs a forward and a backward pass for each arm and each validation batch; a few pairs an arm are enough.

    Args:
        round ([`Round`]): The round.
        model (`nn.Module`, *optional*): A causal language model whose trainable parameters are looked at. Its
            gradients, mode and weights are left as they were. Not for sharded parameters (FSDP, ZeRO-3).
        arm_batches (`Sequence[Batch | None]`, *optional*): For each arm a batch of its pairs with `labels`, on the
            model's device; `None` for an arm without a reward.
        validation_batches (`Sequence[Batch]`): Batches of the validation set.
    """
    if model is None or arm_batches is None or not validation_batches:
        return [None] * len(round.decisions)
    return agreement(model, arm_batches, validation_batches)


def agreement(
    model: nn.Module, batches: Sequence[Batch | None], validation_batches: Sequence[Batch], *, projected: bool = False
) -> list[float | None]:
    """Cosine between the gradient of each batch and the validation gradient, from -1 to 1.

    Args:
        model (`nn.Module`): A causal language model, as for [`influence_reward`].
        batches (`Sequence[Batch | None]`): Batches with `labels`, one pair each or several; `None` has no value.
        validation_batches (`Sequence[Batch]`): Batches of the validation set.
        projected (`bool`, *optional*, defaults to `False`): Compare within the span of the validation batches'
            gradients alone.
    """
    with _evaluating(model) as parameters:
        wanted = Wanted([gradient(model, parameters, batch) for batch in validation_batches])
        return [
            None if batch is None else wanted.cosine(gradient(model, parameters, batch), projected=projected)
            for batch in batches
        ]


class Wanted:
    """The validation gradient, and an orthonormal basis of what its batches' gradients span.

    Args:
        gradients (`Sequence[torch.Tensor]`): Of the validation batches, each of shape `(parameters,)`.
    """

    def __init__(self, gradients: Sequence[torch.Tensor]) -> None:
        import torch

        rows = torch.stack(list(gradients))
        self.mean = rows.mean(dim=0)
        # Eigenvectors of the small matrix of inner products give the basis; directions that are all but noise go.
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = values > _LEAST_SHARE * values.max()
        self.basis = (vectors[:, kept] / values[kept].sqrt()).T @ rows

    def cosine(self, one: torch.Tensor, *, projected: bool = False) -> float:
        """Agreement of a gradient with the validation gradient."""
        import torch

        wanted = self.mean
        if projected:
            one, wanted = self.basis @ one, self.basis @ wanted
        return float(torch.nn.functional.cosine_similarity(one, wanted, dim=0))


_LEAST_SHARE = 1e-6


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The parameters that train, while the model is in evaluation mode, since dropout would add noise."""
    training = model.training
    model.eval()
    try:
        yield [parameter for parameter in model.parameters() if parameter.requires_grad]
    finally:
        model.train(training)


def gradient(model: nn.Module, parameters: Sequence[nn.Parameter], batch: Batch) -> torch.Tensor:
    """Gradient of the loss of a batch, shape `(parameters,)`; the parameters' own gradients are left alone."""
    import torch

    with torch.enable_grad():
        loss = model(**batch).loss
        gradients = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if one is None else one).reshape(-1).float()
            for parameter, one in zip(parameters, gradients, strict=True)
        ]
    )
