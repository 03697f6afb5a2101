"""Agreement of gradients: arms like the validation set pull the model its way."""

import pytest
import torch

from equal_hf.selection.experimental.influence import Wanted, agreement, influence_reward
from equal_hf.types import Decision, Round

ROUND = Round(0, tuple(Decision(arm, 0.0, ("d",)) for arm in range(3)), ())


@pytest.fixture(scope="module")
def model():
    """A Llama with LoRA, so that what trains is little."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2))
    return get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))


def batch(step, n=8, length=12):
    """Sequences that count up by `step`: each kind is learned by itself."""
    start = torch.arange(n)[:, None]
    ids = (start + step * torch.arange(length)[None]) % 40
    return {"input_ids": ids, "labels": ids.clone()}


def test_an_arm_like_the_validation_set_agrees_with_it_most(model):
    values = influence_reward(
        ROUND, model=model, arm_batches=[batch(1), batch(7), None], validation_batches=[batch(1, n=6), batch(1, n=4)]
    )
    like, unlike, missing = values
    assert missing is None
    assert 0.9 < like <= 1.0
    assert -1.0 <= unlike < like


def test_the_model_is_left_as_it_was(model):
    model.train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    influence_reward(ROUND, model=model, arm_batches=[batch(1), None, None], validation_batches=[batch(2)])
    assert model.training
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        torch.testing.assert_close(parameter, before[name])


def test_without_a_model_there_are_no_rewards():
    assert influence_reward(ROUND) == [None] * 3


def test_of_pairs_those_like_the_validation_set_agree_most(model):
    """Within the span of the validation gradients, what has nothing to do with them does not count."""
    pairs = [*(batch(1, n=1) for _ in range(2)), batch(7, n=1), None]
    validation = [batch(1, n=6), batch(1, n=4, length=10), batch(2, n=4)]
    for projected in (False, True):
        like, also, unlike, missing = agreement(model, pairs, validation, projected=projected)
        assert missing is None and like == also > unlike
    whole, inside = (agreement(model, pairs[:1], validation, projected=projected)[0] for projected in (False, True))
    assert inside > whole > 0


def test_the_projection_is_orthonormal_and_keeps_the_validation_gradient():
    torch.manual_seed(0)
    gradients = torch.randn(5, 100)
    gradients[4] = gradients[3]  # which adds no direction
    wanted = Wanted(gradients)
    torch.testing.assert_close(wanted.basis @ wanted.basis.T, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(wanted.basis.T @ (wanted.basis @ wanted.mean), wanted.mean)
    assert wanted.cosine(wanted.mean, projected=True) == pytest.approx(1.0)
    assert wanted.cosine(-wanted.mean) == pytest.approx(-1.0)
