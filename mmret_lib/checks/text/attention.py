"""Scaled dot-product attention with a mask, exercise 03's first task, in steps and with mistakes.

Without steps the formula equals `F.scaled_dot_product_attention`; the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

Answer = tuple[Tensor, Tensor]


def over_keys(mask: Tensor, scores: Tensor) -> Tensor:
    """(B, Lk) -> as many sizes as the scores have: (B, 1, Lk) or (B, 1, 1, Lk)."""
    return mask.reshape(len(mask), *[1] * (scores.ndim - 2), mask.shape[1])


def lowest(scores: Tensor) -> float:
    """The lowest number that the scores' dtype can hold."""
    return float(torch.finfo(scores.dtype).min)


def masked_softmax(scores: Tensor, real: Tensor) -> Tensor:
    """Softmax over the real keys; zeros where there are none."""
    return scores.masked_fill(~real, lowest(scores)).softmax(dim=-1).masked_fill(~real, 0)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    product: Formula = lambda q, k: q @ k.mT,
    divisor: Formula = lambda q, k, v: math.sqrt(q.shape[-1]),
    real: Formula = over_keys,
    soften: Formula = masked_softmax,
    mixed: Formula = lambda w, q, k, v: w @ v,
    result: Formula = lambda out, w, mask: (out, w),
) -> Answer:
    """(B, ..., Lq, D), (B, ..., Lk, D), (B, ..., Lk, E), (B, Lk) -> output and weights."""
    scores = product(q, k) / divisor(q, k, v)
    weights = soften(scores, real(mask, scores))
    answer: Answer = result(mixed(weights, q, k, v), weights, mask)
    return answer


def uniform_where_empty(scores: Tensor, real: Tensor) -> Tensor:
    """A wrong `soften`: a huge negative number alone leaves an even row where no key is real."""
    return scores.masked_fill(~real, lowest(scores)).softmax(dim=-1)


def nan_where_empty(scores: Tensor, real: Tensor) -> Tensor:
    """A wrong `soften`: -inf alone."""
    return scores.masked_fill(~real, -math.inf).softmax(dim=-1)


def repaired_too_late(scores: Tensor, real: Tensor) -> Tensor:
    """Right numbers whose gradient is NaN: -inf is added, and the NaN that it made is replaced."""
    added = torch.zeros_like(scores).masked_fill(~real, -math.inf)
    return (scores + added).softmax(dim=-1).nan_to_num()


def zeroed(scores: Tensor, real: Tensor) -> Tensor:
    """A wrong `soften`: the softmax goes over the padding, too."""
    return scores.softmax(dim=-1).masked_fill(~real, 0)


def zeroed_rows(out: Tensor, w: Tensor, mask: Tensor) -> Answer:
    """A wrong `result`: queries at padded places get zeros, as if the mask were theirs."""
    if mask.shape[1] != out.shape[-2]:
        return out, w
    rows = mask.reshape(len(mask), *[1] * (out.ndim - 3), mask.shape[1], 1)
    return out.masked_fill(~rows, 0), w.masked_fill(~rows, 0)


EMPTY = "where no key is real, output and weights should be zeros"
RULE = (
    "masked scores become very low before the softmax, so that the shares of the real keys add "
    "up to 1"
)
REMEDIES = {
    "product": "the score of query i and key j is their dot product, q @ k.mT",
    "divisor": "divide the scores by the square root of D, the last size of q and k",
    "soften": RULE,
    "mixed": "the output of a query is the sum of the values, each times its share: weights @ v",
}
WRONG_ATTENTION = mistakes(
    REMEDIES,
    real={
        "the mask is turned around: True is a real key, and False is padding": (
            lambda m, s: ~over_keys(m, s)
        ),
        "the mask is not used: padded keys should get no attention": (
            lambda m, s: torch.ones_like(over_keys(m, s))
        ),
        "the first text's mask is used for all: each text has its own row of the mask": (
            lambda m, s: over_keys(m[:1].expand_as(m), s)
        ),
    },
    divisor={
        "the division by the root of D is missing": lambda q, k, v: 1,
        "divided by D and not by its root": lambda q, k, v: q.shape[-1],
        "multiplied by the root of D": lambda q, k, v: q.shape[-1] ** -0.5,
        "divided by the root of the number of keys": lambda q, k, v: math.sqrt(k.shape[-2]),
        "divided by the root of the number of queries": lambda q, k, v: math.sqrt(q.shape[-2]),
        "divided by the root of q.shape[1], which counts queries, or heads": (
            lambda q, k, v: math.sqrt(q.shape[1])
        ),
        "divided by the root of the values' length": lambda q, k, v: math.sqrt(v.shape[-1]),
        "divided by the root of the batch size": lambda q, k, v: math.sqrt(len(q)),
        **{
            f"a root is fixed in the code, of {d}": lambda q, k, v, d=d: math.sqrt(d)
            for d in (3, 32, 64, 128, 768)
        },
    },
    soften={
        f"the padded shares are set to 0 after the softmax, so the rest adds up to less than 1: "
        f"{RULE}": zeroed,
        f"a text without any real key becomes NaN, from a softmax over nothing but -inf: {EMPTY}": (
            nan_where_empty
        ),
        f"a text without any real key gets even shares: {EMPTY}": uniform_where_empty,
        f"masked scores are set to 0, and exp(0) is 1: {RULE}": lambda s, real: (
            s.masked_fill(~real, 0).softmax(dim=-1).masked_fill(~real.any(-1, keepdim=True), 0)
        ),
        f"masked scores are multiplied by 0, and exp(0) is 1: {RULE}": (
            lambda s, real: (s * real).softmax(dim=-1)
        ),
        f"masked scores are set to 0, and exp(0) is 1, though their shares are taken out later: "
        f"{RULE}": lambda s, real: s.masked_fill(~real, 0).softmax(dim=-1).masked_fill(~real, 0),
        "the softmax is taken over dim=1, the queries or the heads: over the keys, dim=-1": (
            lambda s, real: s.masked_fill(~real, lowest(s)).softmax(dim=1).masked_fill(~real, 0)
        ),
        "the mask is added as 0 and 1 to the scores": lambda s, real: (s + real).softmax(dim=-1),
        "the softmax is taken over the queries: each query's shares (a row) should add up to 1, "
        "dim=-1": lambda s, real: (
            s.masked_fill(~real, lowest(s)).softmax(dim=-2).masked_fill(~real, 0)
        ),
        "there is no softmax, the scores themselves are the weights": (
            lambda s, real: s.masked_fill(~real, 0)
        ),
        "exponentials without the division by their sum": lambda s, real: s.exp().masked_fill(
            ~real, 0
        ),
        "a sigmoid is taken": lambda s, real: s.sigmoid().masked_fill(~real, 0),
        "only the largest share is kept": lambda s, real: (
            (s == s.masked_fill(~real, -math.inf).amax(-1, keepdim=True)) & real
        ).to(s.dtype),
        "every real key gets the same share": lambda s, real: (
            real.expand_as(s) / real.expand_as(s).sum(-1, keepdim=True).clamp(min=1)
        ).to(s.dtype),
        "a log_softmax is taken": lambda s, real: (
            s.masked_fill(~real, lowest(s)).log_softmax(dim=-1).masked_fill(~real, 0)
        ),
        "the softmax is taken of minus the scores": lambda s, real: masked_softmax(-s, real),
        "later pieces are hidden (a causal mask): every query may look at every real key": (
            lambda s, real: masked_softmax(s, real & torch.ones_like(s, dtype=torch.bool).tril())
        ),
    },
    product={
        "queries and keys are swapped": lambda q, k: (
            k @ q.mT if q.shape[-2] == k.shape[-2] else q @ k.mT
        ),
        "queries are compared with queries": lambda q, k: (
            q @ q.mT if q.shape[-2] == k.shape[-2] else q @ k.mT
        ),
        "keys are compared with keys": lambda q, k: (
            k @ k.mT if q.shape[-2] == k.shape[-2] else q @ k.mT
        ),
        "queries and keys are brought to length 1 first, which makes cosines": lambda q, k: (
            q / q.norm(dim=-1, keepdim=True) @ (k / k.norm(dim=-1, keepdim=True)).mT
        ),
        "distances are taken": lambda q, k: -torch.cdist(q, k),
    },
    mixed={
        "the weights are applied to the keys": lambda w, q, k, v: (
            w @ k if k.shape == v.shape else w @ v
        ),
        "the weights are applied to the queries": lambda w, q, k, v: (
            w @ q if q.shape == v.shape else w @ v
        ),
        "the weights are transposed": lambda w, q, k, v: (
            w.mT @ v if w.shape[-1] == w.shape[-2] else w @ v
        ),
        "the query itself is added (that is the layer's shortcut, which comes later)": (
            lambda w, q, k, v: w @ v + (q if q.shape == (w @ v).shape else 0)
        ),
        "the mean of the values is taken": lambda w, q, k, v: (w @ v) / v.shape[-2],
    },
    result={
        "queries at padded places are set to zero: the mask is about the keys. What a padded query "
        "finds is harmless, for nobody will look at it": zeroed_rows,
        "output and weights are swapped: return (output, weights)": lambda out, w, mask: (w, out),
        "the scores are returned in place of the shares: the weights of a query add up to 1": (
            lambda out, w, mask: (out, w.log().nan_to_num(neginf=0))
        ),
    },
    several={
        "the mask is not used, and the division by the root of D is missing: padded keys should "
        "get no attention, and scores are divided by the root": {
            "real": lambda m, s: torch.ones_like(over_keys(m, s)),
            "divisor": lambda q, k, v: 1,
        },
    },
)


def masked_values(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Answer:
    """A wrong answer: the padding is taken out of the values, and keeps its shares."""
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return weights @ v.masked_fill(~over_keys(mask, weights).mT, 0), weights


WRONG_ATTENTION += [
    Mistake(f"the mask is used for the values and not for the scores: {RULE}", masked_values)
]
WRONG_ATTENTION_GRADIENTS = [
    Mistake(
        "a text without any real key has a NaN in its gradient. Setting NaN to 0 afterwards is too "
        "late where -inf was added: use scores.masked_fill with a very low finite number, "
        "torch.finfo(scores.dtype).min, then set the padded shares to 0",
        {"soften": repaired_too_late},
    ),
    *mistakes(
        {},
        soften={
            "the weights are detached, so queries and keys cannot learn: no .detach() and no "
            "torch.no_grad": lambda s, real: masked_softmax(s, real).detach(),
        },
        product={
            "the queries are detached": lambda q, k: q.detach() @ k.mT,
            "the keys are detached": lambda q, k: q @ k.detach().mT,
        },
        mixed={"the values are detached": lambda w, q, k, v: w @ v.detach()},
        result={
            "the returned weights are detached: leave it to the caller": (
                lambda out, w, mask: (out, w.detach())
            )
        },
    ),
]


def symptom(answers: Sequence[Answer]) -> str | None:
    """What can be seen in weights that no formula of `WRONG_ATTENTION` gives."""
    sums = answers[0][1].sum(dim=-1).flatten()
    furthest = sums[(sums - 1).abs().argmax()]
    if not torch.allclose(sums, torch.ones_like(sums)):
        return (
            f"a query's weights do not add up to 1 (but to {furthest:.4g}): the softmax goes over "
            "the keys, dim=-1, and nothing is set to 0 after it that had a share"
        )
    return None
