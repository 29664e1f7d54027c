"""The filter: what a guide drops in which direction, and what it refuses."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from atlas_losses import MADE
from loss_batches import IDS, ClipForm, cosines, negatives_of, pairs
from torch import Tensor

from mmret_lib.losses import BarlowTwins, MaxTriplet, SimCLR, SumTriplet, negative_weights
from mmret_lib.losses.atlas import FalseNegativeFilter, SigLIP, TopKTriplet

INNER: dict[str, Callable] = {
    "SumTriplet": SumTriplet,
    "MaxTriplet": partial(MaxTriplet, 0.5),
    "SimCLR": SimCLR,
    "ClipForm": ClipForm,
    **MADE,
}


def random_guide(batch: int, seed: int) -> Tensor:
    return torch.rand(batch, batch, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", INNER.values(), ids=INNER)
@pytest.mark.parametrize("ids", [{}, IDS])
def test_a_guide_that_drops_nothing_leaves_the_inner_loss(make: Callable, ids: dict, device: str):
    emb = [part.to(device).requires_grad_() for part in pairs()]
    guide = torch.eye(5, device=device)
    value, plain = FalseNegativeFilter(make())(*emb, **ids, guide=guide), make()(*emb, **ids)
    assert torch.equal(value, plain)
    for a, b in zip(torch.autograd.grad(value, emb), torch.autograd.grad(plain, emb), strict=True):
        torch.testing.assert_close(a, b)
    weights = negative_weights(FalseNegativeFilter(make()), *emb, **ids, guide=guide)
    torch.testing.assert_close(weights, negative_weights(make(), *emb, **ids))


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("ids", [{}, IDS])
@pytest.mark.parametrize("seed", range(3))
def test_drops_what_a_loop_drops(margin: float, ids: dict, seed: int) -> None:
    """SumTriplet's loop, with both conditions written out for each direction."""
    image_emb, text_emb = pairs(seed=seed)
    guide = random_guide(5, seed).double()
    s, g, total = cosines(image_emb, text_emb), guide.tolist(), 0.0
    weights = negative_weights(
        FalseNegativeFilter(SumTriplet(3.0), margin), image_emb, text_emb, **ids, guide=guide
    )
    for b in range(5):
        for k in range(5):
            negative = k in negatives_of(b, 5, **ids)
            for direction, answer, score in ((0, g[b][k], s[b][k]), (1, g[k][b], s[k][b])):
                kept = negative and not answer >= g[b][b] - margin
                assert bool(weights[direction, b, k] > 0) is kept
                total += max(0.0, 3.0 - s[b][b] + score) if kept else 0.0
    loss = FalseNegativeFilter(SumTriplet(3.0), margin)
    assert loss(image_emb, text_emb, **ids, guide=guide).item() == pytest.approx(total / 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool])
def test_a_matrix_of_the_truth_is_a_guide(dtype: torch.dtype) -> None:
    """Text 2 describes image 0 as well, but text 0 not image 2: only image 0 lets it go."""
    truth = torch.eye(4)
    truth[0, 2] = 1
    loss = FalseNegativeFilter(SumTriplet(3.0))
    weights = negative_weights(loss, *pairs(4, 3), guide=truth.to(dtype))
    assert weights[0, 0, 2] == 0 and (weights[0, 0, [1, 3]] > 0).all()
    assert weights[1, 2, 0] == 0, "for text 2 image 0 is as right as its own"
    assert weights[0, 2, 0] > 0 and weights[1, 0, 2] > 0
    assert (weights > 0).sum() == 24 - 2


def test_without_a_guide_only_negatives_below_the_positive_are_left() -> None:
    emb = pairs(6, 4)
    rows = torch.tensor(cosines(*emb))
    weights = negative_weights(FalseNegativeFilter(SumTriplet(3.0)), *emb)
    for share, similarity in zip(weights, (rows, rows.T), strict=True):
        assert torch.equal(share > 0, similarity < similarity.diagonal()[:, None])
    leaves = [part.requires_grad_() for part in emb]
    given = torch.tensor(cosines(*emb))
    with_own = FalseNegativeFilter(SimCLR())(*leaves, guide=given)
    without = FalseNegativeFilter(SimCLR())(*leaves)
    assert torch.equal(with_own, without)


def test_equal_embeddings_learn_nothing_without_a_guide() -> None:
    same = torch.ones(4, 3).requires_grad_()
    for make in (SumTriplet, SimCLR, ClipForm, TopKTriplet):
        value = FalseNegativeFilter(make())(same, same)
        (gradient,) = torch.autograd.grad(value, same)
        assert value == 0 and not gradient.any()
        assert not negative_weights(FalseNegativeFilter(make()), same, same).any()


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("make", INNER.values(), ids=INNER)
def test_a_query_with_nothing_left_is_treated_as_the_inner_loss_does(make: Callable) -> None:
    emb = [part.requires_grad_() for part in pairs(3, 4)]
    guide = torch.eye(3)
    guide[0] = 1  # image 0 takes every text
    with torch.autograd.detect_anomaly():
        value = FalseNegativeFilter(make())(*emb, guide=guide)
        value.backward()
    assert value.isfinite() and all(part.grad.isfinite().all() for part in emb)
    for everything in (torch.ones(3, 3), torch.zeros(3, 3)):
        assert FalseNegativeFilter(make())(*emb, guide=everything).isfinite()
    weights = negative_weights(FalseNegativeFilter(make()), *emb, guide=guide)
    assert not weights[0, 0].any()


def test_the_guide_receives_no_gradient_and_is_left_alone() -> None:
    guide = random_guide(5, 0).requires_grad_()
    before = guide.detach().clone()
    emb = [part.requires_grad_() for part in pairs()]
    FalseNegativeFilter(SumTriplet(), margin=0.1)(*emb, guide=guide).backward()
    assert guide.grad is None and torch.equal(guide, before)


def test_max_triplets_first_steps_are_counted() -> None:
    emb, guide = pairs(6, 4), torch.eye(6)
    loss = FalseNegativeFilter(MaxTriplet(0.5, all_negatives_steps=2))
    as_sum, as_max = SumTriplet(0.5)(*emb), MaxTriplet(0.5)(*emb)
    values = [loss(*emb, guide=guide) for _ in range(3)]
    assert values == [as_sum, as_sum, as_max]
    assert loss.state_dict()["loss.training_calls"] == 3
    assert loss.eval()(*emb, guide=guide) == as_max


def test_its_own_mask_counts_and_not_the_inner_losss() -> None:
    emb, guide = pairs(), torch.eye(5)
    inner = SumTriplet(mask_duplicates=False)
    assert FalseNegativeFilter(inner)(*emb, **IDS, guide=guide) == SumTriplet()(*emb, **IDS)
    unmasked = FalseNegativeFilter(SumTriplet(), mask_duplicates=False)
    assert unmasked(*emb, **IDS, guide=guide) == SumTriplet()(*emb)


@pytest.mark.parametrize(
    ("guide", "error", "message"),
    [
        (torch.ones(4, 5), ValueError, r"guide must have shape \(5, 5\).*not \(4, 5\)"),
        (torch.ones(5), ValueError, r"not \(5,\)"),
        (torch.ones(5, 5).numpy(), TypeError, "guide must be a torch.Tensor .*not ndarray"),
        ([[1.0] * 5] * 5, TypeError, "not list"),
        (torch.ones(5, 5).to(torch.complex64), TypeError, "real numbers, not torch.complex64"),
        (torch.eye(5).index_put((torch.tensor(2), torch.tensor(3)), torch.tensor(torch.nan)),
         ValueError, "guide holds NaN, first for image 2 and text 3"),
    ],
)  # fmt: skip
def test_refuses_a_bad_guide(guide: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FalseNegativeFilter(SimCLR())(*pairs(), guide=guide)
    with pytest.raises(error, match=message):
        negative_weights(FalseNegativeFilter(SimCLR()), *pairs(), guide=guide)


def test_refuses_losses_without_similarities_and_bad_margins() -> None:
    with pytest.raises(ValueError, match="BarlowTwins does not go by the similarities"):
        FalseNegativeFilter(BarlowTwins())
    with pytest.raises(ValueError, match="FalseNegativeFilter does not go by"):
        FalseNegativeFilter(FalseNegativeFilter(SimCLR()))
    with pytest.raises(TypeError, match="loss must be a PairLoss, not str"):
        FalseNegativeFilter("simclr")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"margin must be .*not -0\.1"):
        FalseNegativeFilter(SimCLR(), margin=-0.1)
    with pytest.raises(TypeError, match="SimCLR takes no guide: wrap it in a FalseNegativeFilter"):
        negative_weights(SimCLR(), *pairs(), guide=torch.eye(5))


def test_the_inner_losss_state_is_its_own() -> None:
    loss = FalseNegativeFilter(SigLIP())
    assert {name for name, _ in loss.named_parameters()} == {"loss.unbounded", "loss.offset"}
    assert "(loss): SigLIP(scale=10, bias=None" in repr(loss) and "margin=0" in repr(loss)
