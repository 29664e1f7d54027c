"""SigLIP's bias: where it starts, that it is kept, learned and resumed."""

import copy
import math
from typing import Any

import pytest
import torch
from loss_batches import pairs

from mmret_lib.losses import negative_weights
from mmret_lib.losses.atlas import FalseNegativeFilter, SigLIP


def bias_of(loss: SigLIP) -> float:
    assert loss.bias is not None
    return loss.bias


@pytest.mark.parametrize("learnable", [False, True])
def test_the_first_call_in_training_sets_the_bias(learnable: bool) -> None:
    loss = SigLIP(learnable=learnable)
    parameters = {name for name, _ in loss.named_parameters()}
    assert parameters == ({"unbounded", "offset"} if learnable else set())
    assert loss.bias is None and "bias=None" in repr(loss)
    loss.eval()(*pairs(9, 4))
    negative_weights(loss, *pairs(9, 4))
    assert loss.bias is None, "evaluation keeps nothing"
    with pytest.raises(ValueError, match="not finite"):
        loss.train()(torch.full((5, 4), math.nan), torch.ones(5, 4))
    assert loss.bias is None, "nor does a batch that is refused"
    value = loss(*pairs(5, 4))
    assert bias_of(loss) == pytest.approx(-math.log(4)) and "bias=-1.386" in repr(loss)
    loss(*pairs(9, 4))
    assert bias_of(loss) == pytest.approx(-math.log(4)), "the first batch decides"
    same = SigLIP(bias=-math.log(4), learnable=learnable)
    for mode in (loss.train(), loss.eval()):
        torch.testing.assert_close(mode(*pairs(5, 4)), value)
    torch.testing.assert_close(same(*pairs(5, 4)), value)


def test_a_pair_of_similarity_zero_is_judged_right_at_the_rate_of_the_batch() -> None:
    for batch in (2, 8, 300):
        logit = SigLIP().logits(torch.zeros(batch, batch))[0, 0].item()
        assert 1 / (1 + math.exp(-logit)) == pytest.approx(1 / batch)


def test_before_its_first_call_it_goes_by_the_batch_at_hand() -> None:
    loss = SigLIP(learnable=False).eval()
    for batch in (5, 9):
        with_bias = SigLIP(bias=-math.log(batch - 1), learnable=False)
        torch.testing.assert_close(loss(*pairs(batch, 4)), with_bias(*pairs(batch, 4)))
        torch.testing.assert_close(
            negative_weights(loss, *pairs(batch, 4)), negative_weights(with_bias, *pairs(batch, 4))
        )


def test_the_first_step_already_moves_scale_and_bias() -> None:
    loss = SigLIP()
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.1)
    loss(*pairs(5, 4)).backward()
    assert all(parameter.grad is not None and parameter.grad for parameter in loss.parameters())
    optimiser.step()
    assert abs(bias_of(loss) + math.log(4)) > 0.05 and abs(loss.scale - 10) > 0.05
    assert 0.1 < loss.scale < 100


def test_both_are_learned_from_the_batch() -> None:
    """A model that is always right wants a steep answer; one that is always wrong, a flat one."""
    right, wrong = SigLIP(), SigLIP()
    eye = torch.eye(6)
    for loss, text_emb in ((right, eye), (wrong, eye.roll(1, dims=0))):
        optimiser = torch.optim.Adam(loss.parameters(), lr=0.3)
        for _ in range(60):
            optimiser.zero_grad()
            loss(eye, text_emb).backward()
            optimiser.step()
    assert right.scale > 15 and wrong.scale < 1


@pytest.mark.parametrize("learnable", [False, True])
def test_a_state_holds_scale_bias_and_whether_it_has_started(learnable: bool) -> None:
    loss, fresh = SigLIP(learnable=learnable), SigLIP(learnable=learnable)
    fresh.load_state_dict(loss.state_dict())
    assert fresh.bias is None
    loss(*pairs(5, 4)).backward() if learnable else loss(*pairs(5, 4))
    fresh.load_state_dict(loss.state_dict())
    assert fresh.bias == loss.bias and fresh.scale == loss.scale
    fresh(*pairs(9, 4))
    assert fresh.bias == loss.bias
    assert copy.deepcopy(loss)(*pairs(9, 4)) == loss(*pairs(9, 4))


def test_under_a_filter_the_bias_is_set_as_well() -> None:
    inner = SigLIP()
    loss = FalseNegativeFilter(inner)
    loss.eval()(*pairs(5, 4))
    assert inner.bias is None
    loss.train()(*pairs(5, 4))
    assert bias_of(inner) == pytest.approx(-math.log(4))


@pytest.mark.parametrize("bias", ["1", math.nan, math.inf, -math.inf])
def test_refuses_a_bad_bias(bias: Any) -> None:
    with pytest.raises(ValueError, match=f"bias must be a finite number, not {bias!r}"):
        SigLIP(bias=bias)


def test_refuses_a_scale_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"learnable scale must start between 0\.1 and 100"):
        SigLIP(scale=100.0)
    assert SigLIP(scale=1e4, learnable=False).scale == 1e4
