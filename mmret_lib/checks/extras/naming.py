"""Pictures named by the prompts of classes, in steps, and the ways to get it wrong."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

MEAN = (
    "a class is the mean of its prompts, each brought to length 1 before, and the mean is brought "
    "to length 1 again"
)


def class_means(prompts: Tensor, owner: Tensor) -> Tensor:
    """(C, D): the mean of each class's rows."""
    count = int(owner.max()) + 1
    return torch.stack([prompts[owner == c].mean(dim=0) for c in range(count)])


def zero_shot(
    image_emb: Tensor,
    prompt_emb: Tensor,
    owner: Tensor,
    *,
    each: Formula = lambda rows: F.normalize(rows, dim=1),
    classes: Formula = class_means,
    again: Formula = lambda rows: F.normalize(rows, dim=1),
    score: Formula = lambda images, named: images @ named.T,
    choose: Formula = lambda scores: scores.argmax(dim=1),
) -> Tensor:
    """The right answer: the class (N,) whose mean prompt has the highest cosine."""
    named = again(classes(each(prompt_emb), owner))
    chosen: Tensor = choose(score(image_emb, named))
    return chosen


def nearest_prompt(
    image_emb: Tensor, prompt_emb: Tensor, owner: Tensor, named: bool = True
) -> Tensor:
    """A wrong answer: the single nearest prompt decides."""
    best = (image_emb @ F.normalize(prompt_emb).T).argmax(dim=1)
    return owner[best] if named else best


def nearest_image(image_emb: Tensor, prompt_emb: Tensor, owner: Tensor) -> Tensor:
    """A wrong answer: each class's nearest picture."""
    named = F.normalize(class_means(F.normalize(prompt_emb), owner))
    return (F.normalize(image_emb) @ named.T).argmax(dim=0)


def first_of_class(prompts: Tensor, owner: Tensor) -> Tensor:
    """(C, D): the first prompt of each class."""
    return torch.stack([prompts[owner == c][0] for c in range(int(owner.max()) + 1)])


def in_rows(prompts: Tensor, owner: Tensor) -> Tensor:
    """(C, D): means of equally many prompts that stand one after the other."""
    count = int(owner.max()) + 1
    each = len(prompts) // count
    return prompts[: count * each].reshape(count, each, -1).mean(dim=1)


WRONG_NAMES = [
    Mistake(f"the single nearest prompt decides: {MEAN}", nearest_prompt),
    Mistake(
        "the number of the nearest prompt is returned: the number of a class is wanted",
        lambda i, p, o: nearest_prompt(i, p, o, named=False),
    ),
    Mistake("each class gets a picture: each picture gets a class, argmax(dim=1)", nearest_image),
    *mistakes(
        {"each": MEAN, "classes": MEAN, "again": MEAN},
        each={
            "the prompts are not brought to length 1 before the mean, and a long one counts more": (
                lambda rows: rows
            ),
            "the prompts are normalised over the wrong axis": lambda rows: F.normalize(rows, dim=0),
            "the prompts are divided by the sum of their entries' sizes, and not by their length": (
                lambda rows: F.normalize(rows, p=1, dim=1)
            ),
            "the prompts are divided by their largest entry, and not by their length": (
                lambda rows: F.normalize(rows, p=math.inf, dim=1)
            ),
            "the mean of all prompts is subtracted": lambda rows: F.normalize(rows - rows.mean(0)),
            "short prompts stay as they are, by an eps of 1: leave it out": (
                lambda rows: F.normalize(rows, eps=1.0)
            ),
        },
        again={
            "the mean is not brought to length 1 again, so a class whose prompts agree wins": (
                lambda rows: rows
            ),
            "the mean is divided by the sum of its entries' sizes, and not by its length": (
                lambda rows: F.normalize(rows, p=1, dim=1)
            ),
        },
        classes={
            "the median of a class's prompts is taken": lambda p, o: torch.stack(
                [p[o == c].quantile(0.5, dim=0) for c in range(int(o.max()) + 1)]
            ),
            "the lower median of a class's prompts is taken": lambda p, o: torch.stack(
                [p[o == c].median(dim=0).values for c in range(int(o.max()) + 1)]
            ),
            "only the first and the last prompt of each class are used": lambda p, o: torch.stack(
                [p[o == c][[0, -1]].mean(dim=0) for c in range(int(o.max()) + 1)]
            ),
            "only the first prompt of each class is used": first_of_class,
            "the prompts are taken to stand in the order of the classes, equally many of each: go "
            "by owner": in_rows,
            "the largest entry of a class's prompts is taken": lambda p, o: torch.stack(
                [p[o == c].amax(dim=0) for c in range(int(o.max()) + 1)]
            ),
        },
        score={
            "the mean of all images is subtracted: an image is named by itself": lambda i, n: (
                (i - i.mean(dim=0)) @ n.T
            ),
            "the images are normalised over the wrong axis": lambda i, n: (
                F.normalize(i, dim=0) @ n.T
            ),
            "similarities are rounded to one digit": lambda i, n: (F.normalize(i) @ n.T).round(
                decimals=1
            ),
            "similarities are rounded to two digits": lambda i, n: (F.normalize(i) @ n.T).round(
                decimals=2
            ),
            "distances are sums over the axes, p=1: cosines are wanted": lambda i, n: (
                -torch.cdist(F.normalize(i), n, p=1)
            ),
            "each image has its mean subtracted": lambda i, n: (
                (i - i.mean(dim=1, keepdim=True)) @ n.T
            ),
            "the absolute value hides which way a cosine points": lambda i, n: (i @ n.T).abs(),
            "a softmax over the images changes who wins: none is needed": lambda i, n: (
                F.normalize(i) @ n.T
            ).softmax(dim=0),
        },
        choose={
            "the least similar class is chosen": lambda s: s.argmin(dim=1),
            "classes count from 0, here they count from 1": lambda s: s.argmax(dim=1) + 1,
            "similarities are returned: the number of the class is wanted": lambda s: s.amax(dim=1),
        },
    ),
    Mistake(
        "the prompts of a class are added, and none is brought to length 1: " + MEAN,
        lambda i, p, o: (i @ class_means(p, o).T).argmax(dim=1),
    ),
    Mistake(
        "the prompts are added, so a class with many prompts wins: " + MEAN,
        lambda i, p, o: (
            i @ torch.zeros(int(o.max()) + 1, p.shape[1]).to(p).index_add(0, o, F.normalize(p)).T
        ).argmax(dim=1),
    ),
]
