"""The formulas of exercise 05 are the library's."""

import pytest
import torch

from mmret_lib.checks import simclr
from mmret_lib.checks.contrastive import closed_form, losses
from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.pairs import batch, cosines
from mmret_lib.losses import SimCLR, negative_weights


@pytest.mark.parametrize("keep", [False, True])
def test_the_losses_are_the_librarys(keep: bool) -> None:
    formula = losses.info_nce if keep else losses.simclr
    for case in simclr.LOSS_CASES:
        image_emb, text_emb, *temperature = case.args
        ours = SimCLR(*temperature, positive_in_denominator=keep)(image_emb, text_emb)
        assert close(ours, formula(*case.args))


def test_the_weights_are_the_librarys() -> None:
    pair = batch(6, 4, 3)
    ours = negative_weights(SimCLR(0.2), *pair)
    assert close(ours, closed_form.simclr_weights(cosines(*pair), 0.2))


def test_the_temperatures_gradient_is_that_of_autograd() -> None:
    pair = batch(6, 4, 3)
    temperature = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    losses.simclr(*pair, temperature).backward()  # type: ignore[arg-type]
    assert close(temperature.grad, closed_form.temperature_gradient(cosines(*pair), 0.2))
