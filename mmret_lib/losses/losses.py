"""The losses, and the one idea in which they differ: how a loss weighs its negatives.

Every loss here wants a pair's similarity s_bb above the similarities s_bk to the other pairs of
the batch. What sets them apart is how hard each negative k is pushed away from the query b, the
derivative of the loss by s_bk:

    SumTriplet   every negative that comes within the margin, all alike
    MaxTriplet   the hardest negative alone
    SimCLR       all, as a softmax over s_bk / temperature: a low temperature weighs like the
                 max, a high one like the sum
    BarlowTwins  has no negatives; it still pushes image b from image k, as hard as their texts
                 resemble each other

`negative_weights` returns these numbers for a batch. Sources: VSE++, arXiv 1707.05612; SimCLR,
2002.05709; DCL, 2110.06848; CLIP, 2103.00020; Barlow Twins, 2103.03230.

All are called alike, on a CPU or a GPU, inside autocast or not:

    loss = SimCLR(temperature=0.07)
    value = loss(image_emb, text_emb, image_ids=image_ids, caption_ids=captions)

`image_emb` and `text_emb` are (B, D), as the encoders give them (not normalised); row b of each is
a positive pair. The value is a scalar: both directions (image -> texts, text -> images) added, the
mean over the B pairs. Half-precision input is computed in float32, float64 stays float64.
`image_ids`, `caption_ids`: B ids each; pairs that share one are not negatives of each other.
`direction` is each loss's formula, on the whole matrix of similarities; large batches go by
`in_tiles` instead, which gives the same in memory that grows with B alone (and, unlike the whole,
can be differentiated only once: then RuntimeError).
Raised: ValueError for B < 2, shapes that differ or are not (B, D), numbers that are not floating
point or not finite, a wrong number of ids; TypeError for what is not a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.base import PairLoss, negative_weights

__all__ = ["LOSSES", "BarlowTwins", "MaxTriplet", "SimCLR", "SumTriplet", "negative_weights"]


def standardise(emb: Tensor) -> Tensor:
    """Each dimension of (B, D) to mean 0, variance 1 over the batch: batch norm without affine."""
    return F.batch_norm(emb, None, None, training=True, eps=1e-5)


def positives(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """(B,): s_bb alone, from rows of length 1 (B, D)."""
    return (image_emb * text_emb).sum(dim=1)


def hinges(similarity: Tensor, negatives: Tensor, margin: float | Tensor) -> Tensor:
    """(B, B): [margin - s_bb + s_bk]_+ where k is a negative of query b, else 0."""
    positive = similarity.diagonal()[:, None]  # (B, 1)
    return (margin - positive + similarity).relu().masked_fill(~negatives, 0)


class SumTriplet(PairLoss):
    """Every negative within the margin costs what it lacks (sum of hinges; VSE++, section 3).

        mean_b sum_{k != b} [margin - s_bb + s_bk]_+     + the same with texts as the queries

    s: cosine similarities, so a margin of 0.2 is 0.2 of cosine; at least 1e-6. With
    `learnable=True` the margin is a parameter between 0.01 and 2. A smaller margin always costs
    less, so minimising this loss alone drives it to the lower bound: something else has to hold
    it up. With `mask_duplicates` pairs that share an id are not negatives; a query with none left
    costs 0. Raises ValueError for a margin out of range.
    """

    number, smallest, bounds = "margin", 1e-6, (0.01, 2.0)
    margin = property(PairLoss.read)

    def __init__(
        self, margin: float = 0.2, learnable: bool = False, mask_duplicates: bool = True
    ) -> None:
        super().__init__(margin, learnable, mask_duplicates)

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        return hinges(similarity, negatives, self.current()).sum(dim=1).mean()

    def in_tiles(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        lacking = self.current() - positives(image_emb, text_emb)  # (B,)
        return tiles.hinge_sums(image_emb, text_emb, lacking, ids).mean(dim=1).sum()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        return hinges(similarity, negatives, self.current()) > 0


class MaxTriplet(PairLoss):
    """Only the hardest negative costs what it lacks (max of hinges; VSE++, section 3).

        mean_b max_{k != b} [margin - s_bb + s_bk]_+     + the same with texts as the queries

    Negatives that tie for the hardest share the push equally. Early in training this loss likes
    to collapse: with all embeddings equal it is exactly 2 * margin. One remedy: for the first
    `all_negatives_steps` calls of forward in training mode it is the SumTriplet of the same
    margin. These calls, not the optimiser's steps, are counted in the buffer `training_calls`,
    saved with the state; calls in evaluation mode are not counted and always take the max, so
    validation figures stay comparable. Margin, `learnable` and masks as in SumTriplet. Raises
    ValueError for a margin out of range, or `all_negatives_steps` not a whole number of at least 0.
    """

    number, smallest, bounds = "margin", 1e-6, (0.01, 2.0)
    margin = property(PairLoss.read)
    training_calls: Tensor

    def __init__(
        self,
        margin: float = 0.2,
        all_negatives_steps: int = 0,
        learnable: bool = False,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(margin, learnable, mask_duplicates)
        if not isinstance(all_negatives_steps, int) or all_negatives_steps < 0:
            raise ValueError(
                "all_negatives_steps must be a whole number of at least 0, "
                f"not {all_negatives_steps!r}"
            )
        self.all_negatives_steps = all_negatives_steps
        self.register_buffer("training_calls", torch.tensor(0))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, all_negatives_steps={self.all_negatives_steps}"

    def total(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        value = super().total(image_emb, text_emb, ids)
        if self.training:
            self.training_calls.add_(1)
        return value

    def early(self, all_negatives: Tensor, hardest: Tensor) -> Tensor:
        """The first during the first calls of training, then the second."""
        if not self.training or self.all_negatives_steps == 0:
            return hardest
        # Chosen on the device: asking it for the count would be one more wait per step.
        calls = self.training_calls.to(hardest.device, non_blocking=True)
        return torch.where(calls < self.all_negatives_steps, all_negatives, hardest)

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        hinge = hinges(similarity, negatives, self.current())  # (B, B)
        # amax, unlike max, shares its gradient among ties: no negative wins for coming first.
        return self.early(hinge.sum(dim=1).mean(), hinge.amax(dim=1).mean())

    def in_tiles(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        lacking = self.current() - positives(image_emb, text_emb)  # (B,)
        if self.training and self.all_negatives_steps > 0:
            sums, hardest = tiles.hinges(image_emb, text_emb, lacking, ids)  # (2, B) each
            return self.early(sums, (lacking + hardest).relu()).mean(dim=1).sum()
        return (lacking + tiles.hardest(image_emb, text_emb, ids)).relu().mean(dim=1).sum()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        hinge = hinges(similarity, negatives, self.current())  # (B, B)
        violated = hinge > 0
        return self.early(violated, violated & (hinge == hinge.amax(dim=1, keepdim=True)))


class SimCLR(PairLoss):
    """Every negative counts, the harder the more: log-sum-exp, a smooth maximum.

        mean_b -s_bb / t + log sum_{k != b} exp(s_bk / t)     + the same with texts as the queries

    s: cosine similarities; t: the temperature, at least 1e-6. As it stands the positive is left
    out of the denominator: the decoupled form (DCL, equation 6, across the two branches only),
    which can be negative. `positive_in_denominator=True` keeps it, as SimCLR (equation 1) and
    CLIP (figure 3) do; the result is then twice CLIP's, which halves the sum of the directions.
    Both spread a query's push over its negatives in the same proportions, softmax(s_bk / t); with
    the positive kept, a query that has found its positive pushes less as a whole.

    With `mask_duplicates` pairs that share an id are not negatives. A query with none left has an
    empty log-sum-exp in the decoupled form and is left out of the mean; where all are, ValueError
    is raised. With the positive kept such a query costs 0.

    With `learnable=True` the temperature is a parameter between 0.01 and 10 (give it no weight
    decay). Unlike a margin it has a gradient worth following: it rises while negatives beat their
    positives and falls as the positives win. Once they win by far a lower temperature always
    costs less; in the decoupled form, which has no lower limit, only the bound ends the fall.
    Raises ValueError for a temperature out of range.
    """

    number, smallest, bounds = "temperature", 1e-6, (0.01, 10.0)
    temperature = property(PairLoss.read)

    def __init__(
        self,
        temperature: float = 0.07,
        positive_in_denominator: bool = False,
        learnable: bool = False,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(temperature, learnable, mask_duplicates)
        self.positive_in_denominator = positive_in_denominator
        self.needs_negatives = not positive_in_denominator

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, positive_in_denominator={self.positive_in_denominator}"

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        logits = similarity / self.current()  # (B, B)
        summed = negatives
        if self.positive_in_denominator:
            summed = negatives | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        counted = summed.any(dim=1)  # (B,)
        # The log of an empty sum is -inf and its gradient NaN, which anomaly detection reports
        # even where a mask stops it: rows that do not count sum over everything instead.
        left_out = ~summed & counted[:, None]  # (B, B)
        cost = logits.masked_fill(left_out, -math.inf).logsumexp(dim=1) - logits.diagonal()  # (B,)
        return cost.where(counted, 0).sum() / counted.sum()

    def in_tiles(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        temperature = self.current()
        largest = math.inf if self.learnable else 1 / self.fixed  # reading a learned one would wait
        positive = positives(image_emb, text_emb) / temperature  # (B,)
        summed = tiles.log_sum_exp(image_emb / temperature, text_emb, ids, largest)  # (2, B)
        if self.positive_in_denominator:
            summed = torch.logaddexp(summed, positive)
        counted = summed > -math.inf
        return ((summed - positive).where(counted, 0).sum(dim=1) / counted.sum(dim=1)).sum()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        logits = (similarity / self.current()).masked_fill(~negatives, -math.inf)  # (B, B)
        return logits.softmax(dim=1).where(negatives, 0)  # a row without negatives is NaN before


class BarlowTwins(PairLoss):
    """No negatives: each dimension should say the same in both branches, and say it alone.

        sum_i (1 - C_ii)^2 + lambda * sum_{i != j} C_ij^2        C = Za^T Zb / B, (D, D)

    (Barlow Twins, equations 1 and 2.) Za, Zb (B, D) are the images' and the texts' embeddings
    after batch norm without affine: per dimension mean 0 and variance 1 over the batch (biased,
    eps 1e-5). Nothing is scaled further.

    `lambda_`, at least 0, is 0.0051 as in the paper's code, tuned for D = 8192 and B = 2048. The
    term it weighs sums D - 1 squares per dimension, each by chance alone about 1 / B, so what
    counts is about lambda (D - 1) / B: 0.020 there, but 0.0025 with D = 128 and B = 256, where
    about ten times as large a lambda (0.05) is wanted. With `learnable=True` it is a parameter
    between 0.0001 and 1; a smaller lambda always costs less, so minimising this loss alone drives
    it to the lower bound. Raises ValueError for a lambda out of range.

    The loss does not see a dimension's offset and scale in either branch; cosine ranking does.
    So standardise each branch, per dimension, before ranking. `image_ids` and `caption_ids` are
    checked but change nothing: there are no negatives from which to leave a duplicate out.
    """

    number, smallest, bounds = "lambda_", 0.0, (1e-4, 1.0)
    lambda_ = property(PairLoss.read)

    def __init__(self, lambda_: float = 0.0051, learnable: bool = False) -> None:
        super().__init__(lambda_, learnable, mask_duplicates=False)

    def extra_repr(self) -> str:
        return f"lambda_={self.lambda_:.4g}, learnable={self.learnable}"

    def total(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        correlation = standardise(image_emb).T @ standardise(text_emb) / len(image_emb)  # (D, D)
        alike = correlation.diagonal()  # (D,)
        off_diagonal = correlation - torch.diag(alike)  # (D, D)
        return (1 - alike).square().sum() + self.current() * off_diagonal.square().sum()

    def pushes(self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor) -> Tensor:
        """(2, B, B): image b is pushed from image k as hard as their texts are alike, and back.

        With R the sum of C_ij^2 over all i, j, and C = Za^T Zb / B, the chain rule gives

            dR / dZa = (2 / B) Zb C^T = (2 / B^2) Zb Zb^T Za

        so that row b of the off-diagonal term's gradient, R less its diagonal, is

            (2 / B^2) sum_k (zb_b . zb_k) za_k  -  (2 / B) C_ii zb_bi  in dimension i

        Descending it moves image b away from image k by zb_b . zb_k, where that is positive (and
        towards it where negative, which is no push): the push is its positive part.
        """
        images, texts = standardise(image_emb), standardise(text_emb)  # (B, D) each
        alike = torch.stack([texts @ texts.T, images @ images.T])  # (2, B, B)
        return alike.relu().masked_fill(~negatives, 0)


LOSSES: dict[str, type[SumTriplet | MaxTriplet | SimCLR | BarlowTwins]] = {
    "sum_triplet": SumTriplet,
    "max_triplet": MaxTriplet,
    "simclr": SimCLR,
    "barlow_twins": BarlowTwins,
}
