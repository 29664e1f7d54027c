"""The figure of shares with sliders, without a browser."""

import numpy as np
import pytest
import torch

from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet
from mmret_lib.show.shares import NEGATIVES, ShareCurves, pushes, share_curves
from mmret_lib.show.view import WIDGET


def test_the_pushes_are_softmax_even_or_one():
    soft = (NEGATIVES / 0.1).softmax(0).numpy()
    push = pushes(SimCLR(0.1), 0.6)
    np.testing.assert_allclose(push / push.sum(), soft, atol=1e-5)
    assert push.sum() == pytest.approx(10, rel=1e-4)  # 1 / temperature
    even = pushes(SumTriplet(0.2), 0.65)
    assert set(even) == {0.0, 1.0} and even.sum() == (NEGATIVES > 0.45).sum()
    assert pushes(MaxTriplet(0.2), 0.65).tolist() == [0.0] * 18 + [1.0]


def test_kept_positives_share_alike_and_push_less():
    dcl, kept = (pushes(SimCLR(0.2, keep), 0.9) for keep in (False, True))
    np.testing.assert_allclose(dcl / dcl.sum(), kept / kept.sum(), atol=1e-6)
    assert kept.sum() < dcl.sum()


def test_the_gradient_mode_of_the_caller_does_not_matter():
    with torch.no_grad():
        assert pushes(SumTriplet(0.2), 0.6).any()


def test_a_slider_draws_anew_and_a_page_without_kernel_has_a_picture():
    view = ShareCurves()
    bundle = view._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == view.box.model_id
    assert bundle["image/png"].startswith("iVBOR") and "τ = 0.07" in bundle["text/plain"]
    before = view.picture.value
    view.temperature.value = 0.5
    assert view.picture.value != before and "τ = 0.5" in view.picture.value


def test_a_loss_that_pushes_nobody_says_so():
    axes = share_curves(margin=0.05, positive=1.0).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["Sum Triplet: pushes nobody", "Max Triplet: pushes nobody"]
