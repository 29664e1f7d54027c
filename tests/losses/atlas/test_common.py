"""What the losses of the atlas promise alike: gradients, precision, extremes, refusals, names."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from atlas_losses import FILTERED, MADE
from loss_batches import IDS, LONELY, pairs
from torch import Tensor
from torch.func import functional_call

from mmret_lib.files.errors import DataError
from mmret_lib.losses import ATLAS, EVERY_LOSS, LOSSES, SimCLR, negative_weights
from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    FalseNegativeFilter,
    HardNegativeNCE,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
    SmoothAP,
    TopKTriplet,
)
from mmret_lib.show.tables import display_name
from mmret_lib.training.recipes import build_loss, name_of_loss

ALL = {**MADE, **FILTERED}


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize("ids", [{}, LONELY])
def test_gradcheck(make: Callable, ids: dict) -> None:
    loss = make().double().eval()
    emb = [emb.requires_grad_() for emb in pairs(3, 4, seed=1)]
    numbers = {name: number.detach() for name, number in loss.named_parameters()}

    def value(image_emb: Tensor, text_emb: Tensor, *learned: Tensor) -> Tensor:
        current = dict(zip(numbers, learned, strict=True))
        return functional_call(loss, current, (image_emb, text_emb), ids)

    if isinstance(getattr(loss, "loss", loss), HardNegativeNCE | AdaptiveNCE):
        pytest.skip("its weights are taken as constants, which a finite difference does not")
    inputs = (*emb, *(number.requires_grad_() for number in numbers.values()))
    assert torch.autograd.gradcheck(value, inputs)


EXTREME: dict[str, Callable] = {
    "margin_softmax": partial(MarginSoftmax, 2.0, 1e-6),
    "top_k_triplet": partial(TopKTriplet, 10**9, 1e6),
    "multi_similarity": partial(MultiSimilarity, 1e-6, 1e6, -1.0),
    "multi_similarity, steep": partial(MultiSimilarity, 1e6, 1e-6, 1.0),
    "siglip": partial(SigLIP, 1e6, -1e6, learnable=False),
    "siglip, wide": partial(SigLIP, 99.0, 50.0),
    "smooth_ap": partial(SmoothAP, 1e-6),
    "hard_negative_nce": partial(HardNegativeNCE, 1e-6, 1e6),
    "adaptive_nce": partial(AdaptiveNCE, 1e-6, -1.0, 1e-6),
    "adaptive_nce, wide": partial(AdaptiveNCE, 1e6, 1.0, 1e6),
    "filtered": lambda: FalseNegativeFilter(SimCLR(1e-6), margin=3.0),
}
BATCHES = {
    "random": lambda: pairs(6, 4),
    "right": lambda: (torch.eye(6), torch.eye(6)),
    "wrong": lambda: (torch.eye(6), torch.eye(6).roll(1, dims=0)),
    "equal": lambda: (torch.ones(6, 4), torch.ones(6, 4)),
    "opposed": lambda: (torch.ones(6, 4), -torch.ones(6, 4)),
    "zeros": lambda: (torch.zeros(6, 4), torch.zeros(6, 4)),
    "huge": lambda: (torch.full((6, 4), 1e30), torch.full((6, 4), 1e-30)),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("make", (EXTREME | ALL).values(), ids=EXTREME | ALL)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("ids", [{}, {"image_ids": [0, 0, 1, 2, 3, 3]}, {"image_ids": [0] * 6}])
def test_finite_at_the_extremes(make: Callable, batch: str, ids: dict, device: str) -> None:
    loss = make().to(device)
    if loss.needs_negatives and ids.get("image_ids") == [0] * 6:
        pytest.skip("refused: none of the pairs has a negative")
    emb = [part.float().to(device).requires_grad_() for part in BATCHES[batch]()]
    with torch.autograd.detect_anomaly():  # no NaN on the way either
        value = loss(*emb, **ids)
        value.backward()
    assert value.isfinite()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in emb)
    weights = negative_weights(loss, *emb, **ids)
    sums = weights.sum(dim=2)
    assert weights.isfinite().all() and (weights >= 0).all()
    assert (torch.isclose(sums, torch.ones_like(sums)) | (sums == 0)).all()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_it_is_cheaper_to_be_right(make: Callable) -> None:
    """Where images and texts agree all losses cost less than where the texts are shuffled."""
    image_emb, text_emb = pairs(8, 6)
    assert make()(image_emb, image_emb) < make()(image_emb, image_emb.roll(1, dims=0))
    assert make()(image_emb, text_emb) < make()(image_emb, text_emb.roll(1, dims=0))


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off(make: Callable, without: Callable) -> None:
    loss, emb = make(), pairs(6, 4)
    expected, value = negative_weights(loss, *emb), make()(*emb)
    with without():
        assert torch.equal(loss(*emb), value)
        weights = negative_weights(make(), *emb)
    assert torch.equal(weights, expected) and not weights.requires_grad


REFUSED = [
    (lambda: MarginSoftmax(margin=-0.1), "margin must be .* at least 0, not -0.1"),
    (lambda: MarginSoftmax(temperature=0), "temperature must be .*, not 0"),
    (lambda: TopKTriplet(0), "k must be a whole number of at least 1, not 0"),
    (lambda: TopKTriplet(2.0), "k must be a whole number .*not 2.0"),
    (lambda: TopKTriplet(margin=0), "margin must be .*not 0"),
    (lambda: MultiSimilarity(alpha=0), "alpha must be .*not 0"),
    (lambda: MultiSimilarity(beta=-1), "beta must be .*not -1"),
    (lambda: MultiSimilarity(base=math.nan), "base must be .*not nan"),
    (lambda: MultiSimilarity(base=-1.5), "base must be .*at least -1, not -1.5"),
    (lambda: SigLIP(scale=-1), "scale must be .*not -1"),
    (lambda: SmoothAP(temperature="0.1"), "temperature must be .*not '0.1'"),
    (lambda: HardNegativeNCE(temperature=math.inf), "temperature must be .*not inf"),
    (lambda: HardNegativeNCE(beta=-0.5), "beta must be .*at least 0, not -0.5"),
    (lambda: AdaptiveNCE(temperature=None), "temperature must be .*not None"),
    (lambda: AdaptiveNCE(mu=-math.inf), "mu must be .*not -inf"),
    (lambda: AdaptiveNCE(sigma=0), "sigma must be .*not 0"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refuses_bad_settings(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_names_and_defaults() -> None:
    assert list(EVERY_LOSS)[-4:] == list(LOSSES) and set(EVERY_LOSS) == {*LOSSES, *ATLAS}
    plain = {name: repr(make()) for name, make in ATLAS.items() if make is not FalseNegativeFilter}
    assert plain == {
        "margin_softmax": "MarginSoftmax(margin=0.2, temperature=0.05, mask_duplicates=True)",
        "top_k_triplet": "TopKTriplet(k=8, margin=0.2, mask_duplicates=True)",
        "multi_similarity": "MultiSimilarity(alpha=2, beta=40, base=0.5, mask_duplicates=True)",
        "siglip": "SigLIP(scale=10, bias=None, learnable=True, mask_duplicates=True)",
        "smooth_ap": "SmoothAP(temperature=0.01, mask_duplicates=True)",
        "hard_negative_nce": "HardNegativeNCE(temperature=0.07, beta=1, mask_duplicates=True)",
        "adaptive_nce": "AdaptiveNCE(temperature=0.07, mu=0.4, sigma=1, mask_duplicates=True)",
    }
    for name, kind in ATLAS.items():
        loss = build_loss(name)
        assert type(loss) is kind and name_of_loss(loss) == name and display_name(name) != name


def test_a_filter_is_built_around_another_loss_by_name() -> None:
    loss = build_loss("false_negative_filter")
    assert type(loss.loss) is SimCLR and loss.loss.temperature == 0.07
    settings = {"inner": "top_k_triplet", "k": 3, "margin": 0.1}
    loss = build_loss("false_negative_filter", **settings)
    assert type(loss.loss) is TopKTriplet and loss.loss.k == 3 and loss.margin == 0.1
    plain = {"margin": 0.3, "all_negatives_steps": 0}
    loss = build_loss("false_negative_filter", inner="max_triplet", inner_settings=plain)
    assert (loss.margin, loss.loss.margin, loss.loss.all_negatives_steps) == (0, 0.3, 0)
    inner = SigLIP()
    assert build_loss("false_negative_filter", loss=inner).loss is inner
    with pytest.raises(DataError, match="BarlowTwins does not go by"):
        build_loss("false_negative_filter", inner="barlow_twins")
    with pytest.raises(DataError, match="simclr has no setting 'k'; it has temperature"):
        build_loss("false_negative_filter", k=3)
    with pytest.raises(DataError, match="top_k_triplet: k must be a whole number"):
        build_loss("top_k_triplet", k=0)
    with pytest.raises(DataError, match=r"there is no loss 'adace'; choose .*adaptive_nce"):
        build_loss("adace")


def test_the_ids_mask_in_every_loss() -> None:
    for make in MADE.values():
        weights = negative_weights(make(), *pairs(), **IDS)
        assert not weights[:, 0, [0, 1, 2]].any() and not weights[:, 1, [0, 4]].any()
