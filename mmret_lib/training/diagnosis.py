"""Say during a training what is going wrong: a collapse, a hub, a learnt number at its bound.

After each epoch the embeddings of its last batch are looked at, and the mean losses of the last
epochs. A training in its first steps looks collapsed as well, so nothing is said before the rates
have been at their peak for some steps, and nothing where the right answers rank above chance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmret_lib.losses.atlas import FalseNegativeFilter
from mmret_lib.losses.base import PairLoss
from mmret_lib.losses.within import WithinBranches
from mmret_lib.metrics.diagnosis import AT_CHANCE, diagnose, share_above
from mmret_lib.metrics.report import Report
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.schedule import warmup_steps

STEPS = 30  # after the warm-up, before anything is said: an epoch or two of the course's trainings
# How near a loss comes to its collapsed value. Max Triplet creeps up to it from above, over epochs;
# at that very value it may also rank by hairs, therefore the ranks are asked as well.
TOLERANCE = 0.03
# How near a learnt number comes to a bound, as a share of the way between both on a log scale.
NEAR_BOUND = 0.02

# What helped and what did not (lower rates, a longer warm-up): data/results/collapse.csv.
_TRIPLET = (
    "Try all negatives for the first steps (all_negatives_steps of max_triplet), a soft maximum "
    "(margin_softmax), or only the projections on frozen pretrained backbones"
)
_GENTLE = "Try a lower learning rate, a longer warm-up, pretrained backbones"
REMEDIES = {
    "SumTriplet": f"{_GENTLE}, or simclr",
    "MaxTriplet": _TRIPLET,
    "TopKTriplet": f"{_GENTLE}, a larger k",
    "SimCLR": f"{_GENTLE}, a temperature near 0.1",
    "MarginSoftmax": f"{_GENTLE}, a higher temperature",
    "MultiSimilarity": f"{_GENTLE}, a smaller beta",
    "SigLIP": f"{_GENTLE}, a bias near minus the logarithm of the batch size (in Python bias=None)",
    "SmoothAP": f"{_GENTLE}, a higher temperature, or simclr for the first epochs: Smooth AP has "
    "little gradient where the right answer ranks low",
    "HardNegativeNCE": f"{_GENTLE}, a smaller beta",
    "AdaptiveNCE": f"{_GENTLE}, a larger sigma",
    "BarlowTwins": "Try a lower learning rate, a larger batch, pretrained backbones; and see that "
    "each branch is standardised",
}


@dataclass(frozen=True)
class LastBatch:
    """What a loss was called with last: embeddings (B, D) and ids (B,) of all processes."""

    image_emb: Tensor
    text_emb: Tensor
    image_ids: Tensor
    caption_ids: Tensor


def collapsed_value(loss: torch.nn.Module, batch: LastBatch) -> float | None:
    """Return what a loss costs where all embeddings of a batch are equal; None if that is unknown.

    The loss itself is asked: for SimCLR the answer is 2 ln(B - 1), or 2 ln B with the positive in
    the denominator; 2 x margin for Max Triplet, B - 1 times that for Sum Triplet; D for Barlow
    Twins. Pairs of the batch that are no negatives of each other lower it.
    """
    if isinstance(loss, WithinBranches):
        inner = collapsed_value(loss.loss, batch)
        return None if inner is None else inner * (1 + loss.images + loss.captions)
    if not isinstance(loss, PairLoss):  # calling it might have effects of its own
        return None
    equal = torch.ones_like(batch.image_emb)
    training = loss.training
    loss.eval()  # then Max Triplet does not count the call
    try:
        with torch.no_grad():
            ids = {"image_ids": batch.image_ids, "caption_ids": batch.caption_ids}
            return float(loss(equal, equal, **ids))
    except ValueError:
        return None
    finally:
        loss.train(training)


def diagnose_epoch(
    loss: torch.nn.Module,
    batch: LastBatch,
    losses: Tensor,
    means: list[float],
    config: TrainConfig,
    report: Report | None = None,
) -> dict[str, str]:
    """Say what is wrong at the end of an epoch, in one line for each finding, and what to try.

    Args:
        batch: the epoch's last one.
        losses: of the steps of the epoch, (steps,).
        means: the mean loss of each epoch so far.
        config: with the epochs filled in.
        report: of the validation pairs, if there are any: it then decides whether the right answers
            rank above chance, and else the last batch does.

    Returns:
        "collapsed loss", "one direction", "hub image", "hub caption", "bound" -> the line.
    """
    steps = len(losses)
    after_warmup = len(means) * steps - warmup_steps(config, steps)
    if after_warmup < STEPS:
        return {}
    findings = _at_bound(loss)
    owner = torch.arange(len(batch.image_emb))
    image_emb, text_emb = batch.image_emb.float(), batch.text_emb.float()
    if report is not None and report.images > 1:
        above = (report.t2i.mean_rank - 1) / (report.images - 1)
    else:
        above = share_above(image_emb, text_emb, owner)
    value = collapsed_value(loss, batch)
    if value and above > AT_CHANCE:
        standing = 0  # steps at the end of the training, in whole epochs
        for mean in reversed(means):
            if abs(mean - value) > TOLERANCE * value:
                break
            standing += steps
        apart = float((losses.float() - value).abs().mean())
        if standing >= STEPS and apart <= TOLERANCE * value:
            findings["collapsed loss"] = (
                f"the loss stands at {value:.4g}, its value where all embeddings are equal, and "
                f"the right answers rank as by chance ({above:.0%} of the wrong ones above them). "
                f"The model has collapsed, or has not begun to learn. "
                f"{REMEDIES.get(type(_innermost(loss)).__name__, _GENTLE)}"
            )
    return findings | diagnose(image_emb, text_emb, owner, wrong_above=above, batch=True)


def _innermost(loss: torch.nn.Module) -> torch.nn.Module:
    """The loss that others only wrap."""
    while isinstance(loss, WithinBranches | FalseNegativeFilter):
        loss = loss.loss
    return loss


def _at_bound(loss: torch.nn.Module) -> dict[str, str]:
    inner = _innermost(loss)
    unbounded = getattr(inner, "unbounded", None)
    if not isinstance(inner, PairLoss) or unbounded is None:
        return {}
    share = float(unbounded.detach().sigmoid())  # of the way from the lower bound to the upper one
    if NEAR_BOUND < share < 1 - NEAR_BOUND:
        return {}
    bound = inner.bounds[share > 0.5]
    name = inner.number.rstrip("_")
    if name == "scale":  # one over a temperature
        cause, remedy = (
            ("a higher one always costs less once right and wrong pairs are apart", "a lower rate")
            if share > 0.5
            else ("right and wrong pairs are not told apart", "a lower learning rate")
        )
    elif share > 0.5:
        cause, remedy = "negatives beat their positives", "a lower learning rate"
    elif name == "temperature":
        cause, remedy = (
            "a lower one always costs less once the positives lead",
            "the positive in the denominator (in Python positive_in_denominator=True)",
        )
    else:
        cause, remedy = "a smaller one always costs less", "a search over some values"
    line = (
        f"the learnt {name}, {inner.read():.3g}, sits at its bound of {bound:g}: {cause}. Try "
        f"{remedy}, or a fixed {name} (in Python learnable=False)"
    )
    return {"bound": line}
