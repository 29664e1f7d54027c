"""The formulas of exercise 14 are the library's."""

from collections.abc import Callable

import pytest
import torch

from mmret_lib.checks import atlas
from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.pairs import batch
from mmret_lib.checks.engine.task import Task
from mmret_lib.checks.weighting import directions
from mmret_lib.checks.weighting.shares import shares
from mmret_lib.losses import PairLoss, SimCLR, SumTriplet, negative_weights
from mmret_lib.losses.atlas import MarginSoftmax, SigLIP, SmoothAP, TopKTriplet
from mmret_lib.losses.base import similarities


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        (atlas.SOFTMAX_TASK, MarginSoftmax),
        (atlas.TOP_K_TASK, TopKTriplet),
        (atlas.SIGLIP_TASK, lambda scale, bias: SigLIP(float(scale), float(bias), learnable=False)),
        (atlas.AP_TASK, SmoothAP),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_the_losses_are_the_librarys(task: Task, loss: type[PairLoss]) -> None:
    for case in task.cases:
        image_emb, text_emb, *settings = case.args
        if len(image_emb) > 1:  # the library refuses a batch without negatives
            assert close(loss(*settings)(image_emb, text_emb), task.right(*case.args))


@pytest.mark.parametrize(
    ("direction", "loss"),
    [
        (directions.smooth_direction(0.2), SimCLR(0.2)),
        (directions.hinge_direction(0.5, lambda h: h.sum(dim=-1)), SumTriplet(0.5)),
        (directions.top_two, TopKTriplet(2, 0.5)),
        (directions.siglip, SigLIP(6.0, -1.0, learnable=False)),
        (directions.smooth_ap, SmoothAP(0.1)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_shares_are_the_librarys(direction: Callable, loss: PairLoss) -> None:
    pair = batch(6, 4, 3)
    assert close(negative_weights(loss, *pair), shares(direction, similarities(*pair)))


def test_only_what_is_pushed_has_a_share() -> None:
    similarity = similarities(*batch(6, 4, 3))
    pulled = ~torch.eye(6, dtype=torch.bool) & (similarity < 0.1)
    weights = shares(directions.towards_a_tenth, similarity)
    assert pulled.any() and not weights[0][pulled].any()
    assert not weights.diagonal(dim1=1, dim2=2).any()
