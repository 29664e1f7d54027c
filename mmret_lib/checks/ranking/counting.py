"""Counting what scores above the right answers, and what ties with them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

OWN = (
    "an image's own captions, all of them, are neither better nor tied for it, and a caption's own "
    "image is not for the caption: leave them out by their place, owner == image"
)
BEST = "an image's right answer is the best of its own captions"
TIES = "better are scores strictly above the right answer's, tied those equal to it"


def same_image(scores: Tensor, owner: Tensor) -> Tensor:
    """(N, M), True where a caption is the image's own."""
    return owner == torch.arange(len(scores), device=scores.device)[:, None]


def own_scores(scores: Tensor, owner: Tensor) -> Tensor:
    """(M,) each caption's score with its own image."""
    return scores[owner, torch.arange(len(owner), device=scores.device)]


def best_own(scores: Tensor, own: Tensor) -> Tensor:
    """(N,) the highest score of each image's own captions."""
    return scores.masked_fill(~own, -math.inf).amax(dim=1)


def ranks(
    scores: Tensor,
    owner: Tensor,
    *,
    owns: Formula = same_image,
    best: Formula = best_own,
    positive: Formula = own_scores,
    better: Formula = torch.gt,
    tied: Formula = torch.eq,
    of_images: Formula = lambda scores, own: ~own,
    of_captions: Formula = lambda scores, own: ~own,
    result: Formula = lambda image, caption: (image, caption),
) -> Any:
    """(better (N,), tied (N,)) of the images and (better (M,), tied (M,)) of the captions."""
    own = owns(scores, owner)
    found = []
    for target, counted, dim in (
        (best(scores, own)[:, None], of_images(scores, own), 1),
        (positive(scores, owner)[None], of_captions(scores, own), 0),
    ):
        ways = (compare(scores, target) & counted for compare in (better, tied))
        found.append(tuple(way.sum(dim) for way in ways))
    return result(*found)


def nth_own(place: int) -> Formula:
    """A wrong `best`: the score of an image's first own caption (0), or its last (-1)."""

    def wrong(scores: Tensor, own: Tensor) -> Tensor:
        chosen = [int(row.nonzero()[place]) for row in own]
        return scores[torch.arange(len(scores)), torch.tensor(chosen)]

    return wrong


def in_blocks(scores: Tensor, owner: Tensor) -> Tensor:
    """A wrong `owns`: as if all images had equally many captions, which stand together."""
    each = max(1, len(owner) // len(scores))
    return same_image(scores, (torch.arange(len(owner)) // each).clamp(max=len(scores) - 1))


def in_blocks_alone(scores: Tensor, owner: Tensor) -> Tensor:
    """A wrong `positive`, as `in_blocks`."""
    each = max(1, len(owner) // len(scores))
    return own_scores(scores, (torch.arange(len(owner)) // each).clamp(max=len(scores) - 1))


def masked_with(value: float) -> Formula:
    """A wrong `best`: what is not an image's own is set to a number that can be a score."""
    return lambda s, own: s.masked_fill(~own, value).amax(dim=1)


def all_of(scores: Tensor, own: Tensor) -> Tensor:
    """A wrong `of_images` or `of_captions`: nothing is left out."""
    return torch.ones_like(own)


def but_one(scores: Tensor, own: Tensor) -> Tensor:
    """A wrong `of_images`: of its own captions only the first of the best is left out."""
    place = scores.masked_fill(~own, -math.inf).argmax(dim=1)
    return torch.arange(scores.shape[1]) != place[:, None]


def both(change: Formula) -> Formula:
    """A wrong `result`: the same is done to the pair of the images and to that of the captions."""
    return lambda image, caption: (change(*image), change(*caption))


def nearly(scores: Tensor, target: Tensor) -> Tensor:
    """A wrong `tied`: equal within a tolerance."""
    return torch.isclose(scores, target.expand_as(scores))


def where_captions_rank(scores: Tensor, owner: Tensor) -> Any:
    """Wrong: each caption among the captions of its image's row, not among the images."""
    own = same_image(scores, owner)
    image = ranks(scores, owner)[0]
    rows, target = scores[owner], own_scores(scores, owner)[:, None]  # (M, M), (M, 1)
    wrong = ~own[owner]
    return image, (((rows > target) & wrong).sum(1), ((rows == target) & wrong).sum(1))


def compared_with_rows(scores: Tensor, owner: Tensor) -> Any:
    """Wrong: down a column each image is compared with its own best caption."""
    own = same_image(scores, owner)
    best = best_own(scores, own)[:, None]
    ways = ((scores > best) & ~own, (scores == best) & ~own)
    return ranks(scores, owner)[0], tuple(way.sum(0) for way in ways)


# s are the scores (N, M), own (N, M) is True where a caption is the image's own; image and caption
# are pairs, better and tied.
WRONG_RANKS = mistakes(
    {
        "better": TIES,
        "tied": TIES,
        "best": BEST,
        "of_images": OWN,
        "of_captions": OWN,
        "result": "return ((better, tied) of the images, (better, tied) of the captions)",
    },
    better={
        "ties are counted among the better ones, too": torch.ge,
        "what scores lower is counted as better": torch.lt,
    },
    tied={
        "the second count is of all that are better or tied": torch.ge,
        "scores that differ a little are called tied: compare them as they are, ==": nearly,
    },
    several={
        f"the own entries are not left out, and tie with themselves: {OWN}": {
            "of_images": all_of,
            "of_captions": all_of,
        },
        "the owners are sorted first: owner[j] belongs to caption j, which stays where it is": {
            "owns": lambda s, o: same_image(s, o.sort().values),
            "positive": lambda s, o: own_scores(s, o.sort().values),
        },
        "every image is taken to have five captions, which stand together: owner says whose they "
        "are, in any order": {
            "owns": lambda s, o: same_image(s, torch.arange(len(o)) // 5),
            "positive": lambda s, o: own_scores(s, torch.arange(len(o)) // 5),
        },
        f"only one own caption of an image is left out: {OWN}": {"of_images": but_one},
        "every image is taken to have equally many captions, which stand together: owner says "
        "whose they are, in any order": {"owns": in_blocks, "positive": in_blocks_alone},
        "a score within a tolerance of the right answer's is called tied, and not better: compare "
        "them as they are, > and ==": {
            "tied": nearly,
            "better": lambda s, target: (s > target) & ~nearly(s, target),
        },
        "the lower score is taken for the better one: the best own caption is the highest, and "
        "better ones are above it": {
            "better": torch.lt,
            "best": lambda s, own: s.masked_fill(~own, math.inf).amin(dim=1),
        },
    },
    of_images={"an image's own captions are counted": all_of},
    of_captions={"a caption's own image is counted": all_of},
    best={
        "the mean of an image's own captions is taken": (
            lambda s, own: (s * own).sum(1) / own.sum(1)
        ),
        "the worst of an image's own captions is taken": (
            lambda s, own: s.masked_fill(~own, math.inf).amin(dim=1)
        ),
        "the first of an image's own captions is taken": nth_own(0),
        "the last of an image's own captions is taken": nth_own(-1),
        "the sum of an image's own captions is taken": lambda s, own: (s * own).sum(1),
        "the best of all captions is taken": lambda s, own: s.amax(1),
        "what is not an image's own is set to NaN before the maximum, which then is NaN, too: set "
        "it to -inf": lambda s, own: s.masked_fill(~own, math.nan).amax(dim=1),
        "what is not an image's own is set to 0 before the maximum, and 0 can be above its own "
        "scores: set it to -inf": masked_with(0),
        "what is not an image's own is set to -1 before the maximum, and scores can be below -1: "
        "set it to -inf": masked_with(-1),
    },
    positive={
        "for a caption the score of its image's best caption is taken: a caption has one right "
        "answer, scores[owner[j], j]": lambda s, o: best_own(s, same_image(s, o))[o],
    },
    result={
        "the two directions are swapped": lambda image, caption: (caption, image),
        "better and tied are swapped": both(lambda better, tied: (tied, better)),
        "the images' counts are returned twice": lambda image, caption: (image, image),
        "the captions' counts are returned twice": lambda image, caption: (caption, caption),
        "the counts begin at 1: these are counts of wrong answers, not ranks, so the best is 0": (
            both(lambda better, tied: (better + 1, tied))
        ),
        "the right answer itself is counted as tied: a count without it is wanted": both(
            lambda better, tied: (better, tied + 1)
        ),
        "one is taken from the tied, though the own entries are left out already": both(
            lambda better, tied: (better, tied - 1)
        ),
        "ties are halved: count them, the halves belong to the expected rank": both(
            lambda better, tied: (better, tied // 2)
        ),
        "it is counted whether there are any, and not how many: sum": both(
            lambda better, tied: ((better > 0).long(), (tied > 0).long())
        ),
        "better and tied are paired wrongly": lambda image, caption: (
            (image[0], caption[0]),
            (image[1], caption[1]),
        ),
    },
)
WRONG_RANKS.append(
    Mistake(
        "captions are ranked among captions: a caption asks for images, so its rivals stand in its "
        "own column",
        where_captions_rank,
    )
)


WRONG_RANKS.append(
    Mistake(
        "for the captions each image's score is compared with that image's best: a caption's "
        "column is compared with one number, the score of its own image",
        compared_with_rows,
    )
)


def tells_near_from_equal(function: Formula) -> str | None:
    """Scores that differ in the twelfth digit are not equal."""
    scores = torch.tensor([[0.5, 0.5 + 1e-12], [0.5 - 1e-12, 0.5]], dtype=torch.float64)
    found = function(scores, torch.arange(2))
    if [each.tolist() for pair in found for each in pair] == [[1, 0], [0, 0], [0, 1], [0, 0]]:
        return None
    return (
        "scores in float64 that differ by 1e-12 are not ordered: are they rounded, converted to "
        "float32, or compared with a tolerance? Compare them as they are"
    )
