"""The mean over a text's real pieces, exercise 03's second task, in steps and with its mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def masked_mean(
    states: Tensor,
    mask: Tensor,
    *,
    real: Formula = lambda m: m,
    total: Formula = lambda s, m: s.masked_fill(~m[..., None], 0).sum(dim=1),
    count: Formula = lambda s, m: m.sum(dim=1, keepdim=True).clamp(min=1),
    result: Formula = lambda mean, s, m: mean,
) -> Tensor:
    """(B, L, D), (B, L) -> (B, D)."""
    m = real(mask)
    pooled: Tensor = result(total(states, m) / count(states, m), states, m)
    return pooled


def first_and_last_left_out(m: Tensor) -> Tensor:
    """A wrong `real`: [CLS] and [SEP] do not count."""
    inner = m.clone()
    inner[:, 0] = False
    last = m.sum(dim=1).clamp(min=1) - 1
    return inner.scatter(1, last[:, None], False)


MEAN = "the sum of a text's real states is divided by how many there are"
EMPTY = "a text without any real piece should get zeros"
WRONG_MEANS = mistakes(
    {
        "count": MEAN,
        "total": MEAN,
        "real": "True is a real piece, and False is padding",
        "result": MEAN,
    },
    real={
        "the mask is turned around": lambda m: ~m,
        "the mask is not used, padding is averaged, too": torch.ones_like,
        "the first text's mask is used for all": lambda m: m[:1].expand_as(m),
        "[CLS] and [SEP] are left out: they are real pieces of the text and count": (
            first_and_last_left_out
        ),
        "the first piece is left out: [CLS] counts, too": (
            lambda m: torch.cat([torch.zeros_like(m[:, :1]), m[:, 1:]], dim=1)
        ),
    },
    count={
        "divided by L, with the padding counted": lambda s, m: s.shape[1],
        "the sum is not divided": lambda s, m: 1,
        "divided by all real pieces of the batch": lambda s, m: m.sum().clamp(min=1),
        "divided by the mean number of real pieces": (
            lambda s, m: m.sum(dim=1).to(s.dtype).mean().clamp(min=1)
        ),
        "divided by the largest number of real pieces": lambda s, m: m.sum(dim=1).max().clamp(1),
        "divided by the batch size": lambda s, m: len(s),
        "divided by D, the length of a state": lambda s, m: s.shape[2],
        "divided by one more than there are (an added 1 instead of clamp(min=1))": (
            lambda s, m: m.sum(dim=1, keepdim=True) + 1
        ),
        "divided by one less than there are": (
            lambda s, m: (m.sum(dim=1, keepdim=True) - 1).clamp(min=1)
        ),
        "divided by the root of how many there are": (
            lambda s, m: m.sum(dim=1, keepdim=True).clamp(min=1).to(s.dtype).sqrt()
        ),
        f"0 is divided by 0 and becomes NaN: {EMPTY}": lambda s, m: m.sum(dim=1, keepdim=True),
        "divided by the number of padded pieces": (
            lambda s, m: (~m).sum(dim=1, keepdim=True).clamp(min=1)
        ),
    },
    total={
        "the largest is taken, number by number": lambda s, m: (
            s.masked_fill(~m[..., None], -math.inf).amax(1).masked_fill(~m.any(1, keepdim=True), 0)
            * m.sum(dim=1, keepdim=True).clamp(min=1)
        ),
        "the smallest is taken, number by number": lambda s, m: (
            s.masked_fill(~m[..., None], math.inf).amin(1).masked_fill(~m.any(1, keepdim=True), 0)
            * m.sum(dim=1, keepdim=True).clamp(min=1)
        ),
        "absolute values are summed": lambda s, m: s.masked_fill(~m[..., None], 0).abs().sum(1),
        "squares are summed": lambda s, m: s.masked_fill(~m[..., None], 0).square().sum(1),
        "padding is replaced by 1, not by 0": lambda s, m: s.masked_fill(~m[..., None], 1).sum(1),
    },
    result={
        "the first state is taken: all real ones count": lambda mean, s, m: s[:, 0],
        "the last state is taken: all real ones count": lambda mean, s, m: s[:, -1],
        "the result is brought to length 1": lambda mean, s, m: (
            mean / mean.norm(dim=1, keepdim=True).clamp(min=1e-12)
        ),
        "a mean over the batch is subtracted": lambda mean, s, m: mean - mean.mean(dim=0),
        f"a text without any real piece gets the mean of its padding: {EMPTY}": (
            lambda mean, s, m: mean.where(m.any(dim=1, keepdim=True), s.mean(dim=1))
        ),
        f"a text without any real piece gets its first state: {EMPTY}": (
            lambda mean, s, m: mean.where(m.any(dim=1, keepdim=True), s[:, 0])
        ),
    },
    several={
        "the mask is not used, and the sum is divided by the number of real pieces: the padding "
        "should not be added": {
            "total": lambda s, m: s.sum(dim=1),
        },
    },
)
WRONG_MEAN_GRADIENTS = [
    Mistake(
        "a text without any real piece has a NaN in its gradient. Setting NaN to 0 afterwards is "
        "too late: divide by the count's clamp(min=1)",
        {
            "count": lambda s, m: m.sum(dim=1, keepdim=True),
            "result": lambda x, s, m: x.nan_to_num(),
        },
    ),
    Mistake(
        "the states are detached",
        {"total": lambda s, m: s.detach().masked_fill(~m[..., None], 0).sum(1)},
    ),
]


def symptom_for(full: Tensor, place: int) -> Formula:
    """Make the symptom for answers whose number `place` is of the states `full`, no padding."""

    def symptom(answers: Sequence[Tensor]) -> str | None:
        for name, other in (
            ("largest", full.amax(dim=1)),
            ("smallest", full.amin(dim=1)),
            ("median", full.median(dim=1).values),
        ):
            if torch.allclose(answers[place], other):
                return f"the {name} is taken, number by number: {MEAN}"
        return None

    return symptom
