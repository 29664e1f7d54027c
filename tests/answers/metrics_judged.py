"""Answers to task 5 of exercise 08: recall with several right answers."""

import itertools
import math

import numpy as np
import torch

INF = float("inf")

# ---------------------------------------------------------------------------------------------
# Right


def in_combinations(scores, right, k):
    """The formula, query by query."""
    hits = []
    for row, is_right in zip(scores, right, strict=True):
        if not is_right.any():
            continue
        best = row[is_right].max()
        better = int((row[~is_right] > best).sum())
        t, s = int((row[~is_right] == best).sum()), int((row[is_right] == best).sum())
        m = max(0, k - better)
        hits.append(1.0 if m > t else 1 - math.comb(t, m) / math.comb(t + s, m))
    return 100 * sum(hits) / len(hits)


def counts_of(scores, right):
    best = scores.masked_fill(~right, -INF).amax(1, keepdim=True)
    ways = ((scores > best) & ~right, (scores == best) & ~right, (scores == best) & right)
    return [way.sum(1) for way in ways]


def by_products(scores, right, k):
    """All m wrong: a product of shares, one for each that is drawn."""
    b, t, s = counts_of(scores, right)
    missed = torch.ones(len(scores), dtype=torch.float64, device=scores.device)
    for drawn in range(k):
        left = (t - drawn).clamp(min=0) / (t + s - drawn).clamp(min=1)
        missed = torch.where(drawn < k - b, missed * left, missed)
    return 100 * (1 - missed)[right.any(1)].mean().item()


def by_log_gamma(scores, right, k):
    scores, right = scores[right.any(1)], right[right.any(1)]
    b, t, s = (each.double() for each in counts_of(scores, right))
    m = torch.minimum((k - b).clamp(min=0), t)
    log = torch.lgamma(t + 1) - torch.lgamma(t - m + 1)
    log = log - torch.lgamma(t + s + 1) + torch.lgamma(t + s - m + 1)
    return 100 * (1 - log.exp().where(k - b <= t, 0)).mean().item()


def in_floats(scores, right, k):
    """The same in float32, which is precise enough."""
    scores, right = scores[right.any(1)], right[right.any(1)]
    b, t, s = (each.float() for each in counts_of(scores, right))
    m = torch.minimum((k - b).clamp(min=0), t)
    parts = [torch.lgamma(each + 1) for each in (t, t - m, t + s, t + s - m)]
    missed = (parts[0] - parts[1] - parts[2] + parts[3]).exp().where(k - b <= t, 0)
    return 100 * float((1 - missed).mean())


def in_all_orders(scores, right, k):
    """Each choice of m among those that tie, where they are few; else the formula."""
    hits = []
    for b, t, s, judged in zip(
        *(each.tolist() for each in counts_of(scores, right)), right.any(1), strict=True
    ):
        if not judged:
            continue
        m = min(max(k - b, 0), t + s)
        ties = [True] * s + [False] * t
        hits.append(np.mean([any(chosen) for chosen in itertools.combinations(ties, m)]))
    return 100 * np.mean(hits)


RIGHT = [in_combinations, by_products, by_log_gamma, in_floats, in_all_orders]

# ---------------------------------------------------------------------------------------------
# Wrong


def best_of(scores, right):
    return scores.masked_fill(~right, -INF).amax(1, keepdim=True)


def chance(b, t, s, k):
    m = min(max(k - b, 0), t + s)
    return 1 - math.comb(t, m) / math.comb(t + s, m)


def of_judged(hits, right):
    return hits[right.any(1)]


def answer(
    *,
    best=best_of,
    hit=chance,
    wrong=lambda right: ~right,
    above=torch.gt,
    judged=of_judged,
    share=lambda hits: 100 * hits.mean().item(),
):
    """A wrong answer: the solution with one line of it changed."""

    def judged_recall(scores, right, k):
        target = best(scores, right)
        b = (above(scores, target) & wrong(right)).sum(1).tolist()
        t = ((scores == target) & wrong(right)).sum(1).tolist()
        s = ((scores == target) & right).sum(1).tolist()
        hits = [float(hit(*counts, k)) for counts in zip(b, t, s, strict=True)]
        return share(judged(torch.tensor(hits, dtype=torch.float64), right.cpu()))

    return judged_recall


def by_topk(scores, right, k):
    first = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return 100 * right.gather(1, first).any(1)[right.any(1)].double().mean().item()


def by_sorting(scores, right, k):
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return 100 * right.gather(1, first).any(1)[right.any(1)].double().mean().item()


def found_share(scores, right, k):
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    found = right.gather(1, first).sum(1) / right.sum(1)
    return 100 * found[right.any(1)].mean().item()


def precision(scores, right, k):
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return 100 * (right.gather(1, first).sum(1) / k)[right.any(1)].mean().item()


def by_recall_at_k(scores, right, k):
    """Task 2 on counts: as if one answer were right."""
    b, t, _ = counts_of(scores, right)
    return 100 * ((k - b) / (t + 1)).clamp(0, 1)[right.any(1)].double().mean().item()


def every_right(scores, right, k):
    """Each right answer is a query."""
    hits = []
    for row, is_right in zip(scores, right, strict=True):
        for target in row[is_right]:
            b, t = int((row[~is_right] > target).sum()), int((row[~is_right] == target).sum())
            hits.append(min(1, max(0, (k - b) / (t + 1))))
    return 100 * sum(hits) / len(hits)


def too_many_drawn(scores, right, k):
    """m is larger than there are."""
    hits = []
    for b, t, s in zip(*(each.tolist() for each in counts_of(scores, right)), strict=True):
        m = max(0, k - b)
        hits.append(1 - math.comb(t, m) / math.comb(t + s, m))
    return 100 * float(of_judged(torch.tensor(hits).double(), right).mean())


def negative_drawn(scores, right, k):
    hits = [
        1 - math.comb(t, k - b) / math.comb(t + s, k - b)
        for b, t, s in zip(*(each.tolist() for each in counts_of(scores, right)), strict=True)
    ]
    return 100 * sum(hits) / len(hits)


def in_place(scores, right, k):
    value = in_combinations(scores, right, k)
    scores[right] = -INF
    return value


def nothing_right_fails(scores, right, k):
    hits = []
    for row, is_right in zip(scores, right, strict=True):
        target = row[is_right].max()
        hits.append(
            chance(*(int(c) for c in counts_of(row[None], is_right[None])), k) * (target < INF)
        )
    return 100 * sum(hits) / len(hits)


def over_right_answers(scores, right, k):
    hits = in_combinations(scores, right, k) * right.any(1).sum()
    return float(hits / right.sum())


def sorted_of_all(scores, right, k):
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return 100 * right.gather(1, first).any(1).double().mean().item()


def missed_beyond(b, t, s, k):
    m = max(0, k - b)
    return 1 - math.comb(t, m) / math.comb(t + s, m) if m <= t + s else 0


WRONG = {
    "sorted, of all": ("two things", sorted_of_all),
    "beyond all": ("a miss is counted", answer(hit=missed_beyond)),
    "single right answers": (
        "single right answer",
        answer(judged=lambda hits, right: hits[right.sum(1) == 1]),
    ),
    "wrong ones": (
        "taken for the right",
        lambda scores, right, k: in_combinations(scores, ~right, k),
    ),
    "one digit": ("one digit", answer(share=lambda hits: round(100 * hits.mean().item(), 1))),
    "not judged are misses": (
        "count as misses: a query without",
        answer(judged=lambda hits, right: hits * right.any(1)),
    ),
    "not judged are hits": (
        "count as hits",
        answer(judged=lambda hits, right: torch.where(right.any(1), hits, 1)),
    ),
    "over the right answers": ("divided by the number of right answers", over_right_answers),
    "weighted": (
        "weigh more",
        answer(judged=lambda hits, right: hits.repeat_interleave(right.sum(1))),
    ),
    "no right answer": ("without any right answer", nothing_right_fails),
    "ties are found": ("ties count as found", answer(hit=lambda b, t, s, k: b < k)),
    "ties are missed": ("ties count as misses", answer(hit=lambda b, t, s, k: b + t < k)),
    "all ties are missed": (
        "those between right answers too",
        answer(hit=lambda b, t, s, k: b + t + s - 1 < k),
    ),
    "expected rank": (
        "threshold of an expectation",
        answer(hit=lambda b, t, s, k: b + t / 2 < k),
    ),
    "task 2": ("one right answer alone", by_recall_at_k),
    "expected number": (
        "expected number of right ones",
        answer(hit=lambda b, t, s, k: min(1, max(0, (k - b) * s / max(1, t + s)))),
    ),
    "with replacement": (
        "with replacement",
        answer(hit=lambda b, t, s, k: 1 - (t / max(1, t + s)) ** max(0, k - b)),
    ),
    "first place": (
        "first place alone",
        answer(hit=lambda b, t, s, k: (b < k) * s / max(1, t + s)),
    ),
    "not turned round": ("1 minus", answer(hit=lambda b, t, s, k: 1 - chance(b, t, s, k))),
    "exchanged": ("exchanged", answer(hit=lambda b, t, s, k: chance(b, s, t, k))),
    "one more": ("one too many", answer(hit=lambda b, t, s, k: chance(b, t, s, k + 1))),
    "one less": ("one too few", answer(hit=lambda b, t, s, k: chance(b, t, s, k - 1))),
    "better forgotten": ("m is k", answer(hit=lambda b, t, s, k: chance(0, t, s, k))),
    "always 1": ("as 1", answer(hit=lambda b, t, s, k: chance(b, t, s, 1))),
    "always 5": ("as 5", answer(hit=lambda b, t, s, k: chance(b, t, s, 5))),
    "first right": (
        "first right answer",
        answer(best=lambda s, right: s.gather(1, right.int().argmax(1, keepdim=True))),
    ),
    "mean of the right": (
        "mean of a query's right",
        answer(best=lambda s, right: ((s * right).sum(1) / right.sum(1).clamp(min=1))[:, None]),
    ),
    "masked with 0": (
        "set to 0",
        answer(best=lambda s, right: s.masked_fill(~right, 0).amax(1, keepdim=True)),
    ),
    "masked with -1": (
        "-1 before the maximum",
        answer(best=lambda s, right: s.masked_fill(~right, -1).amax(1, keepdim=True)),
    ),
    "right ones tie": ("among the tied", answer(wrong=torch.ones_like)),
    "lower is better": (
        "lower score",
        answer(
            above=torch.lt, best=lambda s, right: s.masked_fill(~right, INF).amin(1, keepdim=True)
        ),
    ),
    "topk": ("tie", by_topk),
    "sorted": ("order in which they stand", by_sorting),
    "found share": ("share of its right answers", found_share),
    "precision": ("precision", precision),
    "worst right": (
        "all right answers have to be found",
        answer(best=lambda s, right: s.masked_fill(~right, INF).amin(1, keepdim=True)),
    ),
    "every right": ("wrong", every_right),
    "columns": ("columns ask", lambda scores, right, k: in_combinations(scores.T, right.T, k)),
    "too many drawn": ("ZeroDivisionError", too_many_drawn),
    "fewer than none drawn": ("non-negative", negative_drawn),
    "share": ("percent are wanted", answer(share=lambda hits: hits.mean().item())),
    "count": ("hits are added up", answer(share=lambda hits: hits.sum().item())),
    "rounded": ("rounded", answer(share=lambda hits: round(100 * hits.mean().item()))),
    "in place": ("in place", in_place),
    "no return": ("nothing is returned", lambda scores, right, k: None),
    "hits": ("one number is wanted", answer(share=lambda hits: hits)),
}
