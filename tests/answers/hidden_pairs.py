"""Answers to tasks 4 and 5 of exercise 06: hidden pairs, mean and variance for search time."""

import torch
import torch.nn.functional as F
from torch import nn

from answers.correlations import correlate, no_grad_statistics, off_diagonal, standard
from answers.shared import forgets_return

# Task 4 ------------------------------------------------------------------------------------------


def hidden(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    total = ((za @ za.T) * (zt @ zt.T)).sum() / len(za) ** 2
    on = (za * zt).mean(dim=0).square().sum()
    return total - on, on


def hidden_by_trace(image_emb, text_emb):
    za, zt = standard(image_emb) / len(image_emb) ** 0.5, standard(text_emb) / len(text_emb) ** 0.5
    on = torch.einsum("bi,bi->i", za, zt).pow(2).sum()
    return torch.trace(za @ za.T @ zt @ zt.T) - on, on


def hidden_in_loops(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    total = 0
    on = 0
    for b in range(len(za)):
        for k in range(len(za)):
            total = total + (za[b] @ za[k]) * (zt[b] @ zt[k])
            on = on + (za[b] * zt[b] * za[k] * zt[k]).sum()
    return (total - on) / len(za) ** 2, on / len(za) ** 2


def hidden_by_products(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    products = za * zt  # (B, D)
    pairs = (za @ za.T).mul(zt @ zt.T) - products @ products.T
    return pairs.sum() / pairs.numel(), (products @ products.T).sum() / pairs.numel()


def by_table(image_emb, text_emb):
    c = correlate(image_emb, text_emb)
    return off_diagonal(c).square().sum(), c.diagonal().square().sum()


def by_broadcasting(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    images = (za[:, None, :] * za[None, :, :]).sum(-1)
    texts = (zt[:, None, :] * zt[None, :, :]).sum(-1)
    on = (za * zt).mean(dim=0).square().sum()
    return (images * texts).sum() / len(za) ** 2 - on, on


def built_of(total, on, put=lambda total, on: (total - on, on), standardised=standard):
    def wrong(image_emb, text_emb):
        za, zt = standardised(image_emb), standardised(text_emb)
        return put(total(za, zt), on(za, zt))

    return wrong


def all_pairs(za, zt):
    return ((za @ za.T) * (zt @ zt.T)).sum() / len(za) ** 2


def own(za, zt):
    return (za * zt).mean(0).pow(2).sum()


def others(za, zt):
    products = (za @ za.T) * (zt @ zt.T)
    return (products - torch.diag(products.diagonal())).sum() / len(za) ** 2


def themselves(za, zt):
    return ((za @ za.T) * (zt @ zt.T)).trace() / len(za) ** 2


def by_rows_of_table(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    total = sum((za[:, i] @ zt / len(za)).square().sum() for i in range(za.shape[1]))
    return total - own(za, zt), own(za, zt)


def by_blocks_of_table(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    total = sum((block.T @ zt / len(za)).square().sum() for block in za.split(100, dim=1))
    return total - own(za, zt), own(za, zt)


RIGHT_HIDDEN = [hidden, hidden_by_trace, hidden_in_loops, hidden_by_products]
WRONG_HIDDEN = {
    "by the table": ("(D, D) matrix", by_table),
    "by rows of the table": ("in parts", by_rows_of_table),
    "by blocks of the table": ("in parts", by_blocks_of_table),
    "by a large tensor": ("(B, B, D)", by_broadcasting),
    "turned round": ("order", built_of(all_pairs, own, lambda total, on: (on, total - on))),
    "total and diagonal": (
        "over all of C",
        built_of(all_pairs, own, lambda total, on: (total, on)),
    ),
    "diagonal of the pairs": ("b = k", built_of(all_pairs, themselves)),
    "pairs that differ": (
        "differ",
        built_of(others, own, lambda total, on: (total, on)),
    ),
    "pairs that differ, less the diagonal": ("b = k", built_of(others, own)),
    "divided by B": (
        "divided by B",
        built_of(lambda a, t: all_pairs(a, t) * len(a), lambda a, t: own(a, t) * len(a)),
    ),
    "total divided by B": (
        "total is B",
        built_of(lambda a, t: ((a @ a.T) * (t @ t.T)).sum() / len(a), own),
    ),
    "diagonal not divided": (
        "diagonal",
        built_of(all_pairs, lambda a, t: (a * t).sum(0).pow(2).sum() / len(a)),
    ),
    "means over distinct pairs": (
        "B * (B - 1)",
        built_of(
            lambda a, t: ((a @ a.T) * (t @ t.T)).sum() / (len(a) * (len(a) - 1)),
            lambda a, t: (a * t).sum(0).pow(2).sum() / (len(a) * (len(a) - 1)),
        ),
    ),
    "sum of the matrix product": (
        "trace",
        built_of(lambda a, t: (a @ a.T @ t @ t.T).sum() / len(a) ** 2, own),
    ),
    "images twice": (
        "only the images",
        built_of(lambda a, t: (a @ a.T).pow(2).sum() / len(a) ** 2, own),
    ),
    "images with texts": (
        "images are compared with texts",
        built_of(lambda a, t: (a @ t.T).pow(2).sum() / len(a) ** 2, own),
    ),
    "cosines": (
        "cosines",
        built_of(lambda a, t: all_pairs(F.normalize(a), F.normalize(t)), own),
    ),
    "diagonal not squared": ("squared", built_of(all_pairs, lambda a, t: (a * t).mean(0).sum())),
    "the loss's first term": (
        "first term",
        built_of(all_pairs, lambda a, t: (1 - (a * t).mean(0)).pow(2).sum()),
    ),
    "not standardised": (
        "not standardised",
        built_of(all_pairs, own, standardised=lambda e: e),
    ),
    "centred only": (
        "nothing is divided",
        built_of(all_pairs, own, standardised=lambda e: e - e.mean(0)),
    ),
    "default variance": (
        "B - 1",
        built_of(all_pairs, own, standardised=lambda e: (e - e.mean(0)) / (e.var(0) + 1e-5).sqrt()),
    ),
    "stacked": ("2 results", lambda i, t: torch.stack(hidden(i, t))),
    "one number": ("2 results", lambda i, t: hidden(i, t)[0]),
    "numbers": ("number", lambda i, t: tuple(each.item() for each in hidden(i, t))),
    "detached": ("detached", lambda i, t: tuple(each.detach() for each in hidden(i, t))),
    "statistics detached": (
        "gradient",
        built_of(all_pairs, own, standardised=no_grad_statistics),
    ),
    "on detached": ("detached", lambda i, t: (hidden(i, t)[0], hidden(i, t)[1].detach())),
    "no return": ("nothing is returned", forgets_return),
}


# Task 5 ------------------------------------------------------------------------------------------


def running(batches, momentum):
    dim = batches[0].shape[1]
    mean, variance = batches[0].new_zeros(dim), batches[0].new_ones(dim)
    for batch in batches:
        batch = batch.detach()
        mean = (1 - momentum) * mean + momentum * batch.mean(dim=0)
        variance = (1 - momentum) * variance + momentum * batch.var(dim=0)
    return mean, variance


@torch.no_grad()
def running_by_lerp(batches, momentum):
    mean = torch.zeros_like(batches[0][0])
    variance = torch.ones_like(mean)
    for batch in batches:
        mean = torch.lerp(mean, batch.mean(0), momentum)
        variance = torch.lerp(variance, batch.var(0, unbiased=True), momentum)
    return mean, variance


def running_by_module(batches, momentum):
    layer = nn.BatchNorm1d(batches[0].shape[1], momentum=momentum, affine=False)
    layer = layer.to(batches[0])
    with torch.no_grad():
        for batch in batches:
            layer(batch)
    return layer.running_mean, layer.running_var


def running_in_closed_form(batches, momentum):
    count = len(batches)
    mean = 0
    variance = torch.ones_like(batches[0][0]) * (1 - momentum) ** count
    for place, batch in enumerate(batches):
        weight = momentum * (1 - momentum) ** (count - 1 - place)
        rows = batch.detach()
        mean = mean + weight * rows.mean(dim=0)
        centred = rows - rows.mean(dim=0)
        variance = variance + weight * centred.square().sum(dim=0) / (len(rows) - 1)
    return mean, variance


def moving(start, statistics, share=lambda m, n: m, batches_of=list, detach=True):
    def wrong(batches, momentum):
        mean, variance = start(batches)
        for n, batch in enumerate(batches_of(batches), start=1):
            batch = batch.detach() if detach else batch
            m = share(momentum, n)
            new_mean, new_variance = statistics(batch, mean)
            mean = (1 - m) * mean + m * new_mean
            variance = (1 - m) * variance + m * new_variance
        return mean, variance

    return wrong


def zero_one(batches):
    dim = batches[0].shape[1]
    return batches[0].new_zeros(dim), batches[0].new_ones(dim)


def zero_zero(batches):
    return batches[0].new_zeros(batches[0].shape[1]), batches[0].new_zeros(batches[0].shape[1])


def one_one(batches):
    return batches[0].new_ones(batches[0].shape[1]), batches[0].new_ones(batches[0].shape[1])


def first(batches):
    return batches[0].mean(0).detach(), batches[0].var(0).detach()


def usual(batch, mean):
    return batch.mean(0), batch.var(0)


def starts_with_the_first(batches, momentum):
    mean = variance = None
    for batch in batches:
        batch = batch.detach()
        if mean is None:
            mean, variance = batch.mean(0), batch.var(0)
        else:
            mean = (1 - momentum) * mean + momentum * batch.mean(0)
            variance = (1 - momentum) * variance + momentum * batch.var(0)
    return mean, variance


def all_rows(batches, momentum):
    rows = torch.cat(batches).detach()
    return rows.mean(dim=0), rows.var(dim=0)


def average(batches, momentum):
    means = torch.stack([batch.mean(0) for batch in batches]).detach()
    return means.mean(0), torch.stack([batch.var(0) for batch in batches]).detach().mean(0)


def in_float32(batches, momentum):
    mean, variance = torch.zeros(batches[0].shape[1]), torch.ones(batches[0].shape[1])
    for batch in batches:
        mean = (1 - momentum) * mean + momentum * batch.detach().float().mean(0)
        variance = (1 - momentum) * variance + momentum * batch.detach().float().var(0)
    return mean, variance


def empties_the_list(batches, momentum):
    mean, variance = zero_one(batches)
    while batches:
        batch = batches.pop(0).detach()
        mean = (1 - momentum) * mean + momentum * batch.mean(0)
        variance = (1 - momentum) * variance + momentum * batch.var(0)
    return mean, variance


def centres_in_place(batches, momentum):
    mean, variance = zero_one(batches)
    for batch in batches:
        batch = batch.detach()
        mean = (1 - momentum) * mean + momentum * batch.mean(0)
        batch -= batch.mean(0)
        variance = (1 - momentum) * variance + momentum * batch.var(0)
    return mean, variance


def biased(batch, mean):
    return batch.mean(0), batch.var(0, correction=0)


def kept_columns(batches, momentum):
    mean, variance = running(batches, momentum)
    return mean[None], variance[None]


def shares_by_size(batches, momentum):
    mean, variance = zero_one(batches)
    for batch in batches:
        part = momentum * len(batch) / len(batches[0])
        mean = torch.lerp(mean, batch.detach().mean(0), part)
        variance = torch.lerp(variance, batch.detach().var(0), part)
    return mean, variance


def distances_from_moved(batches, momentum):
    mean, variance = zero_one(batches)
    for batch in batches:
        rows = batch.detach()
        mean = (1 - momentum) * mean + momentum * rows.mean(0)
        variance = (1 - momentum) * variance + momentum * (rows - mean).pow(2).mean(0)
    return mean, variance


RIGHT_RUNNING = [running, running_by_lerp, running_by_module, running_in_closed_form]
WRONG_RUNNING = {
    "biased variance": ("unbiased", moving(zero_one, biased)),
    "momentum of an optimizer": (
        "weight of the old",
        moving(zero_one, usual, share=lambda m, n: 1 - m),
    ),
    "momentum 0.1": ("momentum is fixed", moving(zero_one, usual, share=lambda m, n: 0.1)),
    "plain average": ("plain average", moving(zero_one, usual, share=lambda m, n: 1 / n)),
    "from the first batch": ("first batch", starts_with_the_first),
    "from the first batch, counted again": ("start", moving(first, usual)),
    "from 0 and 0": ("variance starts at 0", moving(zero_zero, usual)),
    "from 1 and 1": ("mean starts at", moving(one_one, usual)),
    "all rows at once": ("at once", all_rows),
    "average of the batches": ("plain average", average),
    "running distances": (
        "running mean",
        moving(
            zero_one,
            lambda batch, mean: (
                batch.mean(0),
                (batch - mean).square().sum(0) / (len(batch) - 1),
            ),
        ),
    ),
    "deviations": (
        "standard deviation of a batch",
        moving(zero_one, lambda batch, mean: (batch.mean(0), batch.std(0))),
    ),
    "deviation returned": (
        "standard deviation is returned",
        lambda b, m: (running(b, m)[0], running(b, m)[1].sqrt()),
    ),
    "turned round": ("order", lambda b, m: running(b, m)[::-1]),
    "last batch": ("last batch", lambda b, m: (b[-1].detach().mean(0), b[-1].detach().var(0))),
    "reversed": (
        "reverse",
        moving(zero_one, usual, batches_of=lambda batches: batches[::-1]),
    ),
    "without the last": (
        "last batch is left out",
        moving(zero_one, usual, batches_of=lambda batches: batches[:-1]),
    ),
    "over the rows": (
        "wrong",
        moving(zero_one, lambda batch, mean: (batch.mean() + 0 * mean, batch.var() + 0 * mean)),
    ),
    "share by size": ("by its size", shares_by_size),
    "distances from the moved mean": ("after the batch has moved it", distances_from_moved),
    "deviations, squared": (
        "squared at the end",
        lambda b, m: (
            running(b, m)[0],
            moving(zero_one, lambda batch, mean: (batch.mean(0), batch.std(0)))(b, m)[1] ** 2,
        ),
    ),
    "with eps": ("eps", lambda b, m: (running(b, m)[0], running(b, m)[1] + 1e-5)),
    "with gradient": ("gradient", moving(zero_one, usual, detach=False)),
    "one number each": (
        "shape",
        lambda b, m: tuple(each.mean() for each in running(b, m)),
    ),
    "rows": ("shape", kept_columns),
    "in float32": ("dtype", in_float32),
    "a dictionary": ("2 results", lambda b, m: dict(zip("mv", running(b, m), strict=True))),
    "list emptied": ("changed", empties_the_list),
    "batches centred in place": ("in place", centres_in_place),
    "no return": ("nothing is returned", lambda batches, momentum: forgets_return(*batches)),
}
