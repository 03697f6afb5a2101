"""Which arms pull the model the way the validation set wants: agreement of gradients.

The idea is LESS's (Xia et al. 2024, arXiv 2402.04333), without its projection and warm-up: one gradient an arm and one
of the validation set, over the parameters that train, which with LoRA are few.

In tests an arm like the validation set comes first; no measurement shows yet that a trained model gains by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    model.eval()  # dropout would add noise
    try:
        wanted = torch.stack([_gradient(model, parameters, batch) for batch in validation_batches]).mean(dim=0)
        values: list[float | None] = []
        for batch in arm_batches:
            if batch is None:
                values.append(None)
                continue
            agreement = torch.nn.functional.cosine_similarity(_gradient(model, parameters, batch), wanted, dim=0)
            values.append(float(agreement))
        return values
    finally:
        model.train(training)


def _gradient(model: nn.Module, parameters: Sequence[nn.Parameter], batch: Batch) -> torch.Tensor:
    import torch

    with torch.enable_grad():
        loss = model(**batch).loss
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).reshape(-1).float()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )
