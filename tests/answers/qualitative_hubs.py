"""Answers to task 1 of exercise 09: how often each answer is found."""

import torch

# ---------------------------------------------------------------------------------------------
# Right


def skewness(counts):
    off = counts - counts.mean()
    deviation = off.square().mean().sqrt()
    return float((off**3).mean() / deviation**3) if deviation > 1e-6 else 0.0


def shares(similarity, k):
    least = similarity.topk(k, dim=1).values[:, -1:]
    above = (similarity > least).to(similarity.dtype)
    tied = (similarity == least).to(similarity.dtype)
    return above + tied * (k - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)


def hubs(similarity, k, chosen=shares, skew=skewness):
    counts = chosen(similarity.detach(), k).sum(dim=0)
    return counts, skew(counts)


def hubs_in_loops(similarity, k):
    rows = similarity.tolist()
    counts = [0.0] * len(rows[0])
    for row in rows:
        least = sorted(row, reverse=True)[k - 1]
        better = sum(score > least for score in row)
        for place, score in enumerate(row):
            if score > least:
                counts[place] += 1
            elif score == least:
                counts[place] += (k - better) / row.count(least)
    mean = sum(counts) / len(counts)
    second = sum((count - mean) ** 2 for count in counts) / len(counts)
    third = sum((count - mean) ** 3 for count in counts) / len(counts)
    skew = 0.0 if second < 1e-12 else third / second**1.5
    return similarity.new_tensor(counts), skew


def hubs_by_sorting(similarity, k):
    least = similarity.sort(dim=1, descending=True).values[:, k - 1, None]
    above, tied = similarity > least, similarity == least
    left = k - above.sum(dim=1)
    part = (left / tied.sum(dim=1))[:, None].to(similarity.dtype)
    counts = torch.where(above, torch.ones_like(part), torch.where(tied, part, 0 * part)).sum(0)
    z = (counts - counts.mean()) / counts.std(correction=0).clamp(min=1e-5)
    return counts.detach(), (z**3).mean().item()


def hubs_by_ranks(similarity, k):
    better = (similarity[:, :, None] < similarity[:, None, :]).sum(dim=2)
    level = (similarity[:, :, None] == similarity[:, None, :]).sum(dim=2)
    counts = ((k - better) / level).clamp(0, 1).to(similarity.dtype).sum(dim=0)
    off = counts - counts.mean()
    return counts, (off**3).mean() / off.square().mean().clamp(min=1e-9) ** 1.5


RIGHT = [hubs, hubs_in_loops, hubs_by_sorting, hubs_by_ranks]

# ---------------------------------------------------------------------------------------------
# Wrong


def by_topk(similarity, k):
    places = similarity.topk(k, dim=1).indices.flatten()
    return torch.bincount(places, minlength=similarity.shape[1]).to(similarity.dtype)


def hubs_by_topk(similarity, k):
    counts = by_topk(similarity, k)
    return counts, skewness(counts)


def hubs_too_short(similarity, k):
    counts = torch.bincount(similarity.topk(k, dim=1).indices.flatten()).to(similarity.dtype)
    return counts, skewness(counts)


def hubs_of_whole_numbers(similarity, k):
    places = similarity.topk(k, dim=1).indices.flatten()
    counts = torch.bincount(places, minlength=similarity.shape[1])
    return counts, skewness(counts.double())


def hubs_by_the_stable_order(similarity, k):
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    counts = torch.zeros_like(similarity).scatter(1, order, 1).sum(dim=0)
    return counts, skewness(counts)


def ties_in_full(s, k):
    return (s >= s.topk(k, dim=1).values[:, -1:]).to(s.dtype)


def ties_not_at_all(s, k):
    return (s > s.topk(k, dim=1).values[:, -1:]).to(s.dtype)


def ties_by_one(s, k):
    least = s.topk(k, dim=1).values[:, -1:]
    tied = (s == least).to(s.dtype)
    return (s > least) + tied / tied.sum(1, keepdim=True)


def ties_over_all_of_them(s, k):
    least = s.topk(k, dim=1).values[:, -1:]
    best = (s >= least).to(s.dtype)
    return best * k / best.sum(1, keepdim=True)


def with_skew(skew):
    return lambda s, k: hubs(s, k, skew=skew)


def with_chosen(chosen):
    return lambda s, k: hubs(s, k, chosen)


def with_counts(change):
    return lambda s, k: (change(hubs(s, k)[0], s, k), hubs(s, k)[1])


def changed_first(change):
    def answer(s, k):
        counts = change(hubs(s, k)[0], s, k)
        return counts, skewness(counts)

    return answer


def plain(counts):
    return float(((counts - counts.mean()) ** 3).mean() / counts.std(correction=0) ** 3)


def by_sample_deviation(counts):
    return float(((counts - counts.mean()) ** 3).mean() / counts.std().clamp(min=1e-6) ** 3)


def kurtosis(counts):
    off = counts - counts.mean()
    return float((off**4).mean() / off.square().mean().clamp(min=1e-12) ** 2)


def by_variance(counts):
    off = counts - counts.mean()
    return float((off**3).mean() / off.square().mean().clamp(min=1e-12))


def in_place(similarity, k):
    least = similarity.topk(k, dim=1).values[:, -1:]
    similarity[similarity < least] = 0
    counts = (similarity != 0).to(similarity.dtype).sum(dim=0)
    return counts, skewness(counts)


WRONG = {
    "topk": ("tie for the last places", hubs_by_topk),
    "bincount without minlength": ("shape", hubs_too_short),
    "whole numbers": ("dtype", hubs_of_whole_numbers),
    "the stable order": ("lower index", hubs_by_the_stable_order),
    "ties in full": ("all count in full", with_chosen(ties_in_full)),
    "ties lost": ("not counted", with_chosen(ties_not_at_all)),
    "ties share one place": ("more than one place may be left", with_chosen(ties_by_one)),
    "all share": ("tie for the last places share them", with_chosen(ties_over_all_of_them)),
    "columns choose": (
        "given by the columns",
        lambda s, k: (
            (counts := shares(s.T, min(k, len(s))).sum(1)),
            skewness(counts),
        ),
    ),
    "counts of queries": ("k for all of them", lambda s, k: (shares(s, k).sum(1), 0.0)),
    "transposed": (
        "shape",
        lambda s, k: hubs(s.T, min(k, len(s))),
    ),
    "least similar": ("least similar", lambda s, k: hubs(-s, k)),
    "only the first": ("only the first answer counts", lambda s, k: hubs(s, 1)),
    "one more": ("one answer too many", lambda s, k: hubs(s, min(k + 1, s.shape[1]))),
    "one less": ("one answer too few", lambda s, k: hubs(s, max(k - 1, 1))),
    "always ten": ("selected index k out of range", lambda s, k: hubs(s, 10)),
    "shares of queries": (
        "divided by the number of queries",
        with_counts(lambda counts, s, k: counts / len(s)),
    ),
    "shares of queries, before the skewness": (
        "divided by the number of queries",
        changed_first(lambda counts, s, k: counts / len(s)),
    ),
    "percent": ("percent", changed_first(lambda counts, s, k: 100 * counts / len(s))),
    "by k": ("divided by k", changed_first(lambda counts, s, k: counts / k)),
    "by chance": (
        "divided by their mean",
        changed_first(lambda counts, s, k: counts * s.shape[1] / (len(s) * k)),
    ),
    "probabilities": (
        "divided by their sum",
        changed_first(lambda counts, s, k: counts / counts.sum()),
    ),
    "sorted": ("sorted", changed_first(lambda counts, s, k: counts.sort(descending=True).values)),
    "rounded": ("rounded", changed_first(lambda counts, s, k: counts.round())),
    "NaN": ("0 / 0", with_skew(plain)),
    "by N - 1": ("divides by N - 1", with_skew(by_sample_deviation)),
    "kurtosis": ("kurtosis", with_skew(kurtosis)),
    "by the variance": ("divided by the variance", with_skew(by_variance)),
    "not divided": (
        "not divided",
        with_skew(lambda c: float(((c - c.mean()) ** 3).mean())),
    ),
    "standard deviation": (
        "this is the standard deviation",
        with_skew(lambda c: float(c.std(correction=0))),
    ),
    "absolute": (
        "absolute values",
        with_skew(
            lambda c: float(
                (c - c.mean()).abs().pow(3).mean() / c.std(correction=0).clamp(min=1e-6) ** 3
            )
        ),
    ),
    "the largest": ("largest count", with_skew(lambda c: float(c.max()))),
    "mean less median": (
        "median",
        with_skew(
            lambda c: float(3 * (c.mean() - c.median()) / c.std(correction=0).clamp(min=1e-6))
        ),
    ),
    "always 0": ("counts are right", with_skew(lambda c: 0.0)),
    "rounded skewness": ("counts are right", with_skew(lambda c: round(skewness(c), 2))),
    "of the similarities": (
        "skewness is that of the similarities",
        lambda s, k: (hubs(s, k)[0], skewness(s.flatten())),
    ),
    "swapped": ("result [0]", lambda s, k: hubs(s, k)[::-1]),
    "counts alone": ("2 results", lambda s, k: hubs(s, k)[0]),
    "skewness alone": ("2 results", lambda s, k: hubs(s, k)[1]),
    "a list": ("result [0]", lambda s, k: (hubs(s, k)[0].tolist(), hubs(s, k)[1])),
    "a dict": ("dict", lambda s, k: dict(zip(("counts", "skewness"), hubs(s, k), strict=True))),
    "float32": ("dtype", lambda s, k: (hubs(s, k)[0].float(), hubs(s, k)[1])),
    "in place": ("in place", in_place),
    "no return": ("nothing is returned", lambda s, k: None),
    "numpy": ("numpy", lambda s, k: (hubs(s, k)[0].numpy(), hubs(s, k)[1])),
}
