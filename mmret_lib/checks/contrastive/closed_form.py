"""The derivatives of the decoupled loss in closed form: exercise 05's tasks 4 and 5, in steps.

Without steps the first equals `mmret_lib.losses.negative_weights`, and the second what autograd
gives; the tests hold them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.checks.contrastive.losses import eye, positives
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def without_diagonal(x: Tensor) -> Tensor:
    """The logits with -inf on the diagonal."""
    return x.masked_fill(eye(x), -math.inf)


def zero_diagonal(w: Tensor) -> Tensor:
    """The weights with 0 on the diagonal."""
    return w.masked_fill(eye(w), 0)


def simclr_weights(
    similarity: Tensor,
    temperature: float,
    *,
    both: Formula = lambda s: torch.stack([s, s.T]),
    scale: Formula = lambda s, t: s / t,
    left_out: Formula = without_diagonal,
    share: Formula = lambda x: x.softmax(dim=2),
    result: Formula = lambda w, t: w,
) -> Tensor:
    """The softmax of each query's negatives, (2, B, B); [0] has images as rows, [1] texts."""
    logits = scale(both(similarity.detach()), temperature)
    weights: Tensor = result(share(left_out(logits)), temperature)
    return weights


TURNED = (
    "[1] is transposed: its rows are the texts (the queries), its columns the images, so take the "
    "softmax of the rows of similarity.T and leave it like that"
)
COPIED = (
    "[1] is [0] transposed: the texts' own softmax is wanted, over the rows of similarity.T, which "
    "has other sums"
)
NEGATIVES = "the positive is no negative: set the diagonal to -inf before the softmax"


def sums_over(*dims: int) -> Formula:
    """A wrong `share`: exponentials divided by their sums over other axes."""
    return lambda x: x.exp() / x.exp().sum(dims, keepdim=True)


WRONG_WEIGHTS = mistakes(
    {
        "both": "[0] has images as rows, [1] has texts, the rows of similarity.T",
        "scale": "the similarities are divided by the temperature, once, before the softmax",
        "left_out": NEGATIVES,
        "share": "each row (one query's negatives) is exp(s / temperature) divided by its own sum",
        "result": "a row's shares are wanted, which sum to 1: the softmax as it is",
    },
    several={
        "the diagonal is set to 0 only after the softmax, whose sums still had the positive in "
        "them: set it to -inf before": {
            "left_out": lambda x: x,
            "result": lambda w, t: zero_diagonal(w),
        },
        "the diagonal is set to 0 before the softmax, and exp(0) = 1 is still in the sum: set it "
        "to -inf": {"left_out": zero_diagonal, "result": lambda w, t: zero_diagonal(w)},
        "the softmax goes over the wrong axis, and [1] has the images as rows": {
            "share": lambda x: x.softmax(dim=1)
        },
    },
    left_out={
        "the diagonal is not left out": lambda x: x,
        "the diagonal is set to 0, and exp(0) = 1 is a term like any other": zero_diagonal,
        "the diagonal is set to -1": lambda x: x.masked_fill(eye(x), -1),
    },
    both={
        "both directions are those of the images": lambda s: torch.stack([s, s]),
        "both directions are those of the texts": lambda s: torch.stack([s.T, s.T]),
        "the directions are swapped": lambda s: torch.stack([s.T, s]),
        "the two directions are averaged first": lambda s: torch.stack([s + s.T, s + s.T]) / 2,
    },
    result={
        TURNED: lambda w, t: torch.stack([w[0], w[1].T]),
        COPIED: lambda w, t: torch.stack([w[0], w[0].T]),
        "divided by the temperature: that is the gradient, not its shares": lambda w, t: w / t,
        "divided by B: the mean's 1 / B cancels in a share": lambda w, t: w / w.shape[2],
        "divided by 2": lambda w, t: w / 2,
        "divided by the temperature and B: that is the gradient, not its shares": (
            lambda w, t: w / t / w.shape[2]
        ),
        "the log of the shares is returned": lambda w, t: w.log(),
        "the shares are squared": lambda w, t: w.square(),
        "the two directions are averaged": lambda w, t: w.mean(0).expand_as(w),
        "1 - share is returned": lambda w, t: zero_diagonal(1 - w),
        "the sign is wrong": lambda w, t: -w,
    },
    scale={
        "the temperature is not used": lambda s, t: s,
        "multiplied by the temperature": lambda s, t: s * t,
        "the temperature is fixed in the code, 0.07": lambda s, t: s / 0.07,
        "divided by the temperature twice": lambda s, t: s / t**2,
        "divided by the root of the temperature": lambda s, t: s / t**0.5,
        "the most similar gets least (a minus)": lambda s, t: -s / t,
    },
    share={
        "exp overflows or underflows at a low temperature, and inf / inf or 0 / 0 is NaN: use "
        "softmax, which subtracts the row's largest entry first": sums_over(2),
        "the softmax goes over the columns": lambda x: x.softmax(dim=1),
        "one softmax goes over the whole matrix": lambda x: x.flatten(1).softmax(1).view_as(x),
        "the sum is taken over both directions": sums_over(0, 2),
        "the exponentials are not divided": torch.exp,
        "divided by the largest, not by the sum": (
            lambda x: x.softmax(2) / x.softmax(2).amax(2, keepdim=True)
        ),
        "the hardest negative gets all, a max": lambda x: hardest_alone(x),
        "the hardest negatives share all, a max": (
            lambda x: (x == x.amax(2, keepdim=True)) / (x == x.amax(2, keepdim=True)).sum(2, True)
        ),
        "all negatives get the same": lambda x: (x > -math.inf).to(x.dtype) / (x.shape[2] - 1),
        "a sigmoid is taken": torch.sigmoid,
        "the exponentials are multiplied by the similarities": lambda x: (
            x.softmax(2) * x.masked_fill(eye(x), 0)
        ),
    },
)


def seen_in_weights(answers: Sequence[Tensor]) -> str | None:
    """What is wrong with weights by what can be seen in them."""
    if any(answer.isnan().any() for answer in answers):
        return None
    if any(answer.diagonal(dim1=1, dim2=2).abs().max() > 1e-9 for answer in answers):
        return f"the diagonal is not 0 everywhere: {NEGATIVES}"
    if any(answer.min() < -1e-9 for answer in answers):
        return "a share is below 0: what is it divided by?"
    sums = answers[0].sum(dim=2)
    off = sums[(sums - 1).abs() > 1e-6]
    if len(off):
        return f"a row does not sum to 1 (but to {off[0]:.4g}): divide by the sum of that very row"
    return None


def hardest_alone(x: Tensor) -> Tensor:
    """1 for the largest of each row."""
    return torch.zeros_like(x).scatter(2, x.argmax(dim=2, keepdim=True), 1)


def average(w: Tensor, s: Tensor) -> Tensor:
    """The mean of s by the weights, for each query (2, B)."""
    return (w * s).sum(dim=2)


def temperature_gradient(
    similarity: Tensor,
    temperature: float,
    *,
    weights: Formula = simclr_weights,
    others: Formula = average,
    own: Formula = lambda s: positives(s)[..., 0],
    gap: Formula = lambda own, others: own - others,
    factor: Formula = lambda t: 1 / t**2,
    directions: Formula = torch.add,
    mean: Formula = torch.mean,
) -> Tensor:
    """The derivative of the decoupled loss by its temperature, a scalar."""
    s = torch.stack([similarity, similarity.T]).detach()  # (2, B, B)
    gaps = gap(own(s), others(weights(similarity, temperature), s))  # (2, B)
    gradient: Tensor = factor(temperature) * mean(directions(*gaps))
    return gradient


def logits_sum(w: Tensor, s: Tensor) -> Tensor:
    """A wrong `others`: the sum of the similarities, unweighted."""
    return zero_diagonal(s).sum(dim=2)


def in_whole(similarity: Tensor, temperature: float) -> Tensor:
    """Weights with the positive among them, InfoNCE's."""
    return (torch.stack([similarity, similarity.T]) / temperature).softmax(dim=2)


def without_own(similarity: Tensor, temperature: float) -> Tensor:
    """InfoNCE's weights with 0 on the diagonal."""
    return zero_diagonal(in_whole(similarity, temperature))


def even(similarity: Tensor, temperature: float) -> Tensor:
    """The same weight for every negative."""
    w = zero_diagonal(torch.ones_like(torch.stack([similarity, similarity])))
    return w / (w.shape[2] - 1)


def by_log_sum_exp(similarity: Tensor, temperature: float) -> Tensor:
    """The derivative as if the temperature stood in front of the logarithm only."""
    x = torch.stack([similarity, similarity.T]) / temperature
    sums = without_diagonal(x).logsumexp(dim=2)
    return (positives(x)[..., 0] - sums).sum(0).mean() / temperature


def loss_itself(similarity: Tensor, temperature: float) -> Tensor:
    """The loss, not its derivative."""
    x = torch.stack([similarity, similarity.T]) / temperature
    return (without_diagonal(x).logsumexp(dim=2) - positives(x)[..., 0]).sum(0).mean()


WRONG_TEMPERATURE = [
    *mistakes(
        {
            "factor": "the derivative of s / t by t is -s / t^2",
            "weights": "a query's negatives are weighed by task 4's softmax, which leaves the "
            "positive out",
            "others": "the negatives' mean similarity by their weights is wanted, sum over k of "
            "w_bk s_bk",
            "own": "the positive of query b is s_bb, once",
            "gap": "each query gives s_bb - sum over k of w_bk s_bk",
            "directions": "both directions are added",
            "mean": "the mean over the B pairs is wanted",
        },
        gap={
            "the sign is wrong: a rising temperature raises the loss where the positive leads": (
                lambda own, others: others - own
            ),
            "the positive's part is missing": lambda own, others: -others,
            "the negatives' part is missing": lambda own, others: own,
            "the two parts are added": torch.add,
            "the absolute value is taken": lambda own, others: (own - others).abs(),
            "cut off at 0": lambda own, others: (own - others).relu(),
        },
        factor={
            "the factor 1 / t^2 is missing": lambda t: 1,
            "the factor is 1 / t": lambda t: 1 / t,
            "the factor is 1 / t^3": lambda t: 1 / t**3,
            "it is multiplied by t^2": lambda t: t**2,
            "it is multiplied by t": lambda t: t,
            "the derivative by 1 / t is given": lambda t: -1,
        },
        weights={
            "the positive is kept in the softmax, which is InfoNCE's gradient": in_whole,
            "the positive is taken out only after the softmax": without_own,
            "all negatives weigh alike": even,
            "the softmax is taken without the temperature": lambda s, t: simclr_weights(s, 1.0),
            "the softmax's temperature is the root of it": lambda s, t: simclr_weights(s, t**0.5),
            "[1] of the weights is not the softmax of similarity.T, but [0] again": (
                lambda s, t: simclr_weights(s, t)[[0, 0]]
            ),
            "[1] of the weights is transposed, or the similarities that it is multiplied with are "
            "not": lambda s, t: torch.stack([simclr_weights(s, t)[0], simclr_weights(s, t)[1].T]),
            "exp overflows at a low temperature: use task 4's softmax": lambda s, t: simclr_weights(
                s, t, share=sums_over(2)
            ),
        },
        others={
            "the hardest negative is taken alone": lambda w, s: s.masked_fill(
                eye(s), -math.inf
            ).amax(dim=2),
            "the weights alone are summed": lambda w, s: w.sum(dim=2),
            "the similarities are summed without weights": logits_sum,
            "the mean over all B, not the weighted sum, is taken": lambda w, s: (w * s).mean(dim=2),
            "for the texts the similarities are not transposed as their weights are": (
                lambda w, s: average(w, s[[0, 0]])
            ),
        },
        directions={
            "one direction only: the texts' is missing": lambda i, t: i,
            "one direction only: the images' is missing": lambda i, t: t,
            "the mean of the two directions is taken, so half of it": lambda i, t: (i + t) / 2,
            "the second direction is subtracted": torch.sub,
        },
        mean={
            "the sum over the batch is taken": torch.sum,
            "divided by B - 1": lambda x: x.sum() / (len(x) - 1),
            "divided by B twice": lambda x: x.mean() / len(x),
        },
        own={
            "the positive is counted twice": lambda s: 2 * positives(s)[..., 0],
            "the mean of each row stands for its positive": lambda s: s.mean(dim=2),
        },
    ),
    Mistake(
        "the log-sum-exp is treated as if it were divided by the temperature as a whole; its "
        "temperature stands inside the exponentials, so the chain rule gives the softmax: "
        "sum over k of w_bk times the derivative of s_bk / t",
        by_log_sum_exp,
    ),
    Mistake("the loss itself is returned, its derivative is wanted", loss_itself),
]
