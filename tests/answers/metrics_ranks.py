"""Answers to task 1 of exercise 08: what is better than the right answers, and what ties."""

import numpy as np
import torch

INF = float("inf")

# ---------------------------------------------------------------------------------------------
# Right


def ranks_in_loops(scores, owner):
    images, captions = ([], []), ([], [])
    for i in range(len(scores)):
        best = max(scores[i, j] for j in range(len(owner)) if owner[j] == i)
        wrong = [scores[i, j] for j in range(len(owner)) if owner[j] != i]
        images[0].append(sum(int(score > best) for score in wrong))
        images[1].append(sum(int(score == best) for score in wrong))
    for j, i in enumerate(owner.tolist()):
        wrong = [scores[other, j] for other in range(len(scores)) if other != i]
        captions[0].append(sum(int(score > scores[i, j]) for score in wrong))
        captions[1].append(sum(int(score == scores[i, j]) for score in wrong))
    return tuple(tuple(torch.tensor(each) for each in pair) for pair in (images, captions))


def ranks_by_indexing(scores, owner):
    """As the library does it: own entries become NaN, which compares false."""
    places = torch.arange(len(owner), device=scores.device)
    own = scores[owner, places]
    best = torch.full_like(scores[:, 0], -INF).scatter_reduce(0, owner, own, "amax")
    others = scores.clone()
    others[owner, places] = torch.nan
    images = (others > best[:, None]).sum(1), (others == best[:, None]).sum(1)
    return images, ((others > own).sum(0), (others == own).sum(0))


def ranks_by_subtraction(scores, owner):
    """Own entries are counted, and their ties taken off again."""
    own = torch.nn.functional.one_hot(owner, len(scores)).T.bool()
    best = torch.where(own, scores, -INF).max(dim=1, keepdim=True).values
    positive = torch.where(own, scores, -INF).max(dim=0).values
    at_best = (scores == best) & own
    images = (scores > best).sum(1), (scores == best).sum(1) - at_best.sum(1)
    return images, ((scores > positive).sum(0), (scores == positive).sum(0) - 1)


def ranks_by_sorting(scores, owner):
    """Places in the sorted wrong answers, by binary search."""
    found = []
    own = owner[None] == torch.arange(len(scores), device=scores.device)[:, None]
    for rows, mine in ((scores, own), (scores.T, own.T)):
        better, tied = [], []
        for row, right in zip(rows, mine, strict=True):
            wrong, best = row[~right].sort().values.contiguous(), row[right].max()
            above = len(wrong) - torch.searchsorted(wrong, best, right=True)
            better.append(above)
            tied.append(len(wrong) - torch.searchsorted(wrong, best) - above)
        found.append([torch.stack(better), torch.stack(tied)])
    return found


RIGHT = [ranks_in_loops, ranks_by_indexing, ranks_by_subtraction, ranks_by_sorting]

# ---------------------------------------------------------------------------------------------
# Wrong


def same(scores, owner):
    return owner == torch.arange(len(scores), device=scores.device)[:, None]


def best_of(scores, own):
    return scores.masked_fill(~own, -INF).amax(1, keepdim=True)


def positive_of(scores, owner):
    return scores.gather(0, owner[None])


def answer(
    *,
    owns=same,
    best=best_of,
    positive=positive_of,
    above=torch.gt,
    beside=torch.eq,
    kept=lambda own: ~own,
    given=lambda images, captions: (images, captions),
):
    """A wrong answer: the solution with one line of it changed."""

    def ranks(scores, owner):
        own = owns(scores, owner)
        found = [
            ((above(scores, right) & kept(own)).sum(d), (beside(scores, right) & kept(own)).sum(d))
            for right, d in ((best(scores, own), 1), (positive(scores, owner), 0))
        ]
        return given(*found)

    return ranks


def by_diagonal(scores, owner):
    right = scores.diagonal()
    images = (scores > right[:, None]).sum(1), (scores == right[:, None]).sum(1) - 1
    return images, ((scores > right).sum(0), (scores == right).sum(0) - 1)


def by_argsort(scores, owner):
    own = same(scores, owner)
    rows = scores.argsort(dim=1, descending=True, stable=True).argsort(1)
    columns = scores.argsort(dim=0, descending=True, stable=True).argsort(0)
    better = torch.where(own, rows, scores.numel()).amin(1)
    return (better, 0 * better), (columns.gather(0, owner[None])[0], 0 * owner)


def in_place(scores, owner):
    right = answer()(scores.clone(), owner)
    scores[owner, torch.arange(len(owner))] = torch.nan
    return right


def sorts_the_owner(scores, owner):
    return answer()(scores, owner.sort().values)


def minus_one(scores, owner):
    """One is taken off the ties for the right answer itself, which has other own ones beside it."""
    best, positive = best_of(scores, same(scores, owner)), positive_of(scores, owner)
    images = (scores > best).sum(1), (scores == best).sum(1) - 1
    return images, ((scores > positive).sum(0), (scores == positive).sum(0) - 1)


def recomputed(scores, owner):
    """The right scores anew, through half precision."""
    positive = positive_of(scores, owner).half().to(scores)
    return answer(positive=lambda s, o: positive)(scores, owner)


def by_numpy(scores, owner):
    found = ranks_by_subtraction(torch.tensor(scores.detach().cpu().numpy()), owner.cpu())
    return tuple(tuple(torch.from_numpy(np.asarray(each)) for each in pair) for pair in found)


def expected(images, captions):
    return images[0] + images[1] / 2, captions[0] + captions[1] / 2


def five_each(scores, owner):
    return answer()(scores, torch.arange(len(owner)) // 5)


def from_one(images, captions):
    return (images[0] + 1, images[1]), (captions[0] + 1, captions[1])


def each_caption(scores, owner):
    """A rank for each own caption, its siblings among its rivals."""
    right = positive_of(scores, owner)[0]  # (M,)
    rows = scores[owner]
    counts = (rows > right[:, None]).sum(1), (rows == right[:, None]).sum(1) - 1
    return counts, answer()(scores, owner)[1]


def rivals_of_captions(scores, owner):
    """Captions beat captions."""
    images, own = answer()(scores, owner)[0], same(scores, owner)
    rows, right = scores[owner], positive_of(scores, owner).T
    return images, (
        ((rows > right) & ~own[owner]).sum(1),
        ((rows == right) & ~own[owner]).sum(1),
    )


def halves(images, captions):
    return tuple((better, tied // 2) for better, tied in (images, captions))


def masks_with(value):
    return answer(best=lambda s, own: s.masked_fill(~own, value).amax(1, keepdim=True))


def seeded(scores, owner):
    torch.manual_seed(0)
    return answer()(scores, owner)


def through_nan(scores, owner):
    own = same(scores, owner)
    rest, best = scores.masked_fill(own, torch.nan), scores.masked_fill(~own, torch.nan).amax(1)
    right = positive_of(scores, owner)
    images = (rest > best[:, None]).sum(1), (rest == best[:, None]).sum(1)
    return images, ((rest > right).sum(0), (rest == right).sum(0))


def one_target_for_both(scores, owner):
    own = same(scores, owner)
    best = best_of(scores, own)
    ways = ((scores > best) & ~own, (scores == best) & ~own)
    return tuple(tuple(way.sum(dim) for way in ways) for dim in (1, 0))


def any_of_them(images, captions):
    return tuple(tuple((each > 0).long() for each in pair) for pair in (images, captions))


WRONG = {
    "NaN": ("set to NaN", through_nan),
    "one target for both": ("one number, the score of its own image", one_target_for_both),
    "any": ("not how many", answer(given=any_of_them)),
    "at least as good": ("ties are counted among the better", answer(above=torch.ge)),
    "tied or better": ("all that are better or tied", answer(beside=torch.ge)),
    "lower is better": ("scores lower is counted", answer(above=torch.lt)),
    "distances": (
        "lower score is taken for the better",
        answer(above=torch.lt, best=lambda s, own: s.masked_fill(~own, INF).amin(1, keepdim=True)),
    ),
    "with themselves": ("own entries are not left out", answer(kept=torch.ones_like)),
    "minus one": ("only one own caption", minus_one),
    "diagonal": ("shapes do not fit", by_diagonal),
    "sorted": ("tie", by_argsort),
    "five each": ("five captions", five_each),
    "owner sorted": ("owners are sorted", sorts_the_owner),
    "first caption": (
        "first of an image's own",
        answer(best=lambda s, own: s.gather(1, own.int().argmax(1, keepdim=True))),
    ),
    "mean caption": (
        "mean of an image's own",
        answer(best=lambda s, own: ((s * own).sum(1) / own.sum(1))[:, None]),
    ),
    "worst caption": (
        "worst of an image's own",
        answer(best=lambda s, own: s.masked_fill(~own, INF).amin(1, keepdim=True)),
    ),
    "best of all": (
        "best of all captions",
        answer(best=lambda s, own: s.amax(1, keepdim=True)),
    ),
    "masked with 0": ("set to 0", masks_with(0)),
    "multiplied": ("set to 0", answer(best=lambda s, own: (s * own).amax(1, keepdim=True))),
    "masked with -1": ("-1 before the maximum", masks_with(-1)),
    "masked with -1e9": ("float16", masks_with(-1e9)),
    "best for captions, too": (
        "its image's best caption",
        answer(positive=lambda s, o: best_of(s, same(s, o))[:, 0][o][None]),
    ),
    "among captions": ("captions are ranked among captions", rivals_of_captions),
    "swapped": ("swapped", answer(given=lambda images, captions: (captions, images))),
    "pairs swapped": (
        "better and tied are swapped",
        answer(given=lambda images, captions: (images[::-1], captions[::-1])),
    ),
    "paired wrongly": (
        "paired wrongly",
        answer(given=lambda images, captions: tuple(zip(images, captions, strict=True))),
    ),
    "four results": (
        "4 results",
        answer(given=lambda images, captions: (*images, *captions)),
    ),
    "images alone": (
        "results should be",
        answer(given=lambda images, captions: images),
    ),
    "expected ranks": ("results should be", answer(given=expected)),
    "half ties": ("halved", answer(given=halves)),
    "from 1": ("begin at 1", answer(given=from_one)),
    "each caption": ("shape", each_caption),
    "tolerance": (
        "differ a little",
        answer(beside=lambda s, right: torch.isclose(s, right.expand_as(s))),
    ),
    "rounded": (
        "tolerance",
        lambda scores, owner: answer()(scores.round(decimals=3), owner),
    ),
    "float32": (
        "converted to float32",
        lambda scores, owner: answer()(scores.float(), owner),
    ),
    "recomputed": ("tolerance", recomputed),
    "in place": ("in place", in_place),
    "numpy": ("gpu", by_numpy),
    "on the CPU": (
        "gpu",
        answer(owns=lambda s, o: o == torch.arange(len(s))[:, None]),
    ),
    "floats": (
        "dtype",
        answer(given=lambda images, captions: (images, tuple(c.float() for c in captions))),
    ),
    "lists": (
        "tensor is wanted",
        answer(given=lambda i, c: ([e.tolist() for e in i], [e.tolist() for e in c])),
    ),
    "no return": ("nothing is returned", lambda scores, owner: None),
    "prints": ("nothing is returned", lambda scores, owner: print(scores.shape)),
    "seeded": ("seed", seeded),
}
