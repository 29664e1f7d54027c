"""Answers to task 3 of exercise 13: pictures named by prompts."""

import torch
import torch.nn.functional as F

from answers.shared import unit


def means(prompt_emb, owner):
    return torch.stack([prompt_emb[owner == c].mean(dim=0) for c in range(int(owner.max()) + 1)])


def named(image_emb, classes):
    return (unit(image_emb) @ classes.T).argmax(dim=1)


# ---------------------------------------------------------------------------------------------
# Right


def by_means(image_emb, prompt_emb, owner):
    return named(image_emb, unit(means(unit(prompt_emb), owner)))


def by_index_add(image_emb, prompt_emb, owner):
    count = int(owner.max()) + 1
    sums = torch.zeros(count, prompt_emb.shape[1], dtype=prompt_emb.dtype, device=owner.device)
    return (image_emb @ unit(sums.index_add(0, owner, unit(prompt_emb))).T).max(dim=1).indices


def by_one_hot(image_emb, prompt_emb, owner):
    member = F.one_hot(owner).to(prompt_emb.dtype)  # (M, C)
    sums = member.T @ unit(prompt_emb)
    return F.cosine_similarity(image_emb[:, None], sums[None], dim=2).argmax(dim=1)


def by_distance(image_emb, prompt_emb, owner):
    return torch.cdist(image_emb, unit(means(unit(prompt_emb), owner))).argmin(dim=1)


RIGHT = [by_means, by_index_add, by_one_hot, by_distance]


# ---------------------------------------------------------------------------------------------
# Wrong


def nearest_prompt(image_emb, prompt_emb, owner):
    return owner[named(image_emb, unit(prompt_emb))]


def best_of_class(image_emb, prompt_emb, owner):
    s = unit(image_emb) @ unit(prompt_emb).T
    scores = [s[:, owner == c].amax(dim=1) for c in range(int(owner.max()) + 1)]
    return torch.stack(scores, dim=1).argmax(dim=1)


def prompt_number(image_emb, prompt_emb, owner):
    return named(image_emb, unit(prompt_emb))


def mean_cosine(image_emb, prompt_emb, owner):
    s = unit(image_emb) @ unit(prompt_emb).T
    scores = [s[:, owner == c].mean(dim=1) for c in range(int(owner.max()) + 1)]
    return torch.stack(scores, dim=1).argmax(dim=1)


def summed(image_emb, prompt_emb, owner):
    s = unit(image_emb) @ unit(prompt_emb).T
    scores = [s[:, owner == c].sum(dim=1) for c in range(int(owner.max()) + 1)]
    return torch.stack(scores, dim=1).argmax(dim=1)


def long_prompts_win(image_emb, prompt_emb, owner):
    return named(image_emb, unit(means(prompt_emb, owner)))


def nothing_normalised(image_emb, prompt_emb, owner):
    return (image_emb @ means(prompt_emb, owner).T).argmax(dim=1)


def first_prompt(image_emb, prompt_emb, owner):
    first = [int((owner == c).nonzero()[0]) for c in range(int(owner.max()) + 1)]
    return named(image_emb, unit(prompt_emb[first]))


def in_order(image_emb, prompt_emb, owner):
    count = int(owner.max()) + 1
    each = len(prompt_emb) // count
    rows = unit(prompt_emb)[: count * each].view(count, each, -1)
    return named(image_emb, unit(rows.mean(dim=1)))


def least(image_emb, prompt_emb, owner):
    return (unit(image_emb) @ unit(means(unit(prompt_emb), owner)).T).argmin(dim=1)


def picture_of_class(image_emb, prompt_emb, owner):
    return (unit(image_emb) @ unit(means(unit(prompt_emb), owner)).T).argmax(dim=0)


def softmax_over_images(image_emb, prompt_emb, owner):
    s = unit(image_emb) @ unit(means(unit(prompt_emb), owner)).T
    return s.softmax(dim=0).argmax(dim=1)


def absolute(image_emb, prompt_emb, owner):
    return (unit(image_emb) @ unit(means(unit(prompt_emb), owner)).T).abs().argmax(dim=1)


def similarities(image_emb, prompt_emb, owner):
    return unit(image_emb) @ unit(means(unit(prompt_emb), owner)).T


def but(
    each=unit,
    classes=means,
    again=unit,
    scores=lambda images, classes: unit(images) @ classes.T,
):
    """A wrong answer: the solution with one step changed."""
    return lambda i, p, o: scores(i, again(classes(each(p), o))).argmax(dim=1)


def every_class(pick):
    return lambda p, o: torch.stack([pick(p[o == c]) for c in range(int(o.max()) + 1)])


def by_vote(image_emb, prompt_emb, owner):
    """Each prompt votes for its class with its cosine, if that is above 0."""
    s = (unit(image_emb) @ unit(prompt_emb).T).relu()
    votes = torch.zeros(len(s), int(owner.max()) + 1).to(s).index_add(1, owner, s)
    return (votes / torch.bincount(owner)).argmax(dim=1)


def prompts_in_place(image_emb, prompt_emb, owner):
    prompt_emb /= prompt_emb.norm(dim=1, keepdim=True)
    return by_means(image_emb, prompt_emb, owner)


WRONG = {
    "nearest prompt": ("single nearest prompt", nearest_prompt),
    "best of each class": ("single nearest prompt", best_of_class),
    "number of the prompt": ("number of the nearest prompt", prompt_number),
    "mean cosine": ("length 1 again", mean_cosine),
    "summed cosines": ("many prompts wins", summed),
    "long prompts win": ("before the mean", long_prompts_win),
    "nothing normalised": ("none is brought to length 1", nothing_normalised),
    "first prompt": ("first prompt", first_prompt),
    "in order": ("go by owner", in_order),
    "least similar": ("least similar", least),
    "a picture for each class": ("shape", picture_of_class),
    "softmax over images": ("softmax", softmax_over_images),
    "absolute": ("absolute", absolute),
    "similarities": ("shape", similarities),
    "highest similarity": ("dtype", lambda i, p, o: similarities(i, p, o).amax(dim=1)),
    "from 1": ("count from", lambda i, p, o: by_means(i, p, o) + 1),
    "sum of sizes": ("prompts are divided by the sum", but(each=lambda p: F.normalize(p, p=1))),
    "largest entry of each": (
        "largest entry, and not",
        but(each=lambda p: F.normalize(p, p=float("inf"))),
    ),
    "centred prompts": ("mean of all prompts", but(each=lambda p: unit(p - p.mean(0)))),
    "eps of 1": ("eps", but(each=lambda p: F.normalize(p, eps=1.0))),
    "means by sums": ("mean is divided by the sum", but(again=lambda m: F.normalize(m, p=1))),
    "median prompt": ("the median", but(classes=every_class(lambda p: p.quantile(0.5, dim=0)))),
    "lower median": ("lower median", but(classes=every_class(lambda p: p.median(0).values))),
    "first and last": (
        "first and the last",
        but(classes=every_class(lambda p: p[[0, -1]].mean(0))),
    ),
    "centred images": ("mean of all images", but(scores=lambda i, c: (i - i.mean(0)) @ c.T)),
    "images over dim 0": (
        "images are normalised over the wrong axis",
        but(scores=lambda i, c: F.normalize(i, dim=0) @ c.T),
    ),
    "one digit": ("one digit", but(scores=lambda i, c: (unit(i) @ c.T * 10).round())),
    "two digits": ("two digits", but(scores=lambda i, c: (unit(i) @ c.T * 100).round())),
    "city blocks": ("p=1", but(scores=lambda i, c: -torch.cdist(unit(i), c, p=1))),
    "votes": ("wrong", by_vote),
    "a list": ("list", lambda i, p, o: by_means(i, p, o).tolist()),
    "numpy": ("numpy", lambda i, p, o: by_means(i.detach(), p.detach(), o).numpy()),
    "in place": ("in place", prompts_in_place),
    "nothing": ("nothing is returned", lambda i, p, o: None),
}
