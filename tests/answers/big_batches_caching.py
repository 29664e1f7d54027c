"""Answers to task 1 of exercise 12: the gradient of a batch in pieces."""

import copy

import torch


def parameters_of(branches):
    return [p for branch in branches for p in branch.parameters()]


def firsts(batch, piece):
    return range(0, len(batch[0]), piece)


def embed(branches, batch, piece):
    """Both sides' embeddings (B, D), without what a gradient needs, ready to get one."""
    with torch.no_grad():
        sides = [
            torch.cat([branch(side[f : f + piece]) for f in firsts(batch, piece)])
            for branch, side in zip(branches, batch, strict=True)
        ]
    return [side.requires_grad_() for side in sides]


def cache_of(loss, embedded):
    return torch.autograd.grad(loss(*embedded), embedded)


def send_back(branches, batch, piece, cache, first):
    """The parameters' gradients by one piece."""
    rows = slice(first, first + piece)
    emb = [branch(side[rows]) for branch, side in zip(branches, batch, strict=True)]
    return torch.autograd.grad(emb, parameters_of(branches), [side[rows] for side in cache])


def zeros(branches):
    return [torch.zeros_like(p) for p in parameters_of(branches)]


def add(total, parts):
    return [old + new for old, new in zip(total, parts, strict=True)]


# ---------------------------------------------------------------------------------------------
# Right


def both_sides_at_once(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    total = zeros(branches)
    for first in firsts(batch, piece):
        total = add(total, send_back(branches, batch, piece, cache, first))
    return total


def by_a_surrogate(branches, loss, batch, piece):
    images, texts = embed(branches, batch, piece)
    image_cache, text_cache = torch.autograd.grad(loss(images, texts), (images, texts))
    total = zeros(branches)
    for f in firsts(batch, piece):
        emb = branches[0](batch[0][f : f + piece]), branches[1](batch[1][f : f + piece])
        stand_in = (emb[0] * image_cache[f : f + piece]).sum()
        stand_in = stand_in + (emb[1] * text_cache[f : f + piece]).sum()
        total = add(total, torch.autograd.grad(stand_in, parameters_of(branches)))
    return tuple(total)


def by_backward_on_copies(branches, loss, batch, piece):
    images, texts = embed(branches, batch, piece)
    loss(images, texts).backward()
    copies = [copy.deepcopy(branch) for branch in branches]
    for each in copies:
        each.zero_grad()
    for place, emb in enumerate((images, texts)):
        for side, cached in zip(batch[place].split(piece), emb.grad.split(piece), strict=True):
            copies[place](side.detach()).backward(cached)
    return [p.grad for p in parameters_of(copies)]


def by_backward_put_back(branches, loss, batch, piece):
    parameters = parameters_of(branches)
    kept = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    images, texts = embed(branches, [side.detach() for side in batch], piece)
    loss(images, texts).backward()
    for f in firsts(batch, piece):
        branches[0](batch[0][f : f + piece].detach()).backward(images.grad[f : f + piece])
        branches[1](batch[1][f : f + piece].detach()).backward(texts.grad[f : f + piece])
    found = [p.grad for p in parameters]
    for p, old in zip(parameters, kept, strict=True):
        p.grad = old
    return found


def detached_one_by_one(branches, loss, batch, piece):
    sides = []
    for branch, side in zip(branches, batch, strict=True):
        parts = []
        for rows in side.split(piece):
            parts.append(branch(rows).detach())
        sides.append(torch.cat(parts).requires_grad_())
    cache = cache_of(loss, sides)
    total = zeros(branches)
    for first in reversed(firsts(batch, piece)):
        total = add(total, send_back(branches, batch, piece, cache, first))
    return total


def piece_in_the_whole(branches, loss, batch, piece):
    """Each piece's embeddings, with gradient, among all others without one."""
    whole = [side.detach() for side in embed(branches, batch, piece)]
    total = zeros(branches)
    for f in firsts(batch, piece):
        mixed = [
            torch.cat([side[:f], branch(rows[f : f + piece]), side[f + piece :]])
            for branch, rows, side in zip(branches, batch, whole, strict=True)
        ]
        total = add(total, torch.autograd.grad(loss(*mixed), parameters_of(branches)))
    return total


RIGHT = [
    both_sides_at_once,
    by_a_surrogate,
    by_backward_on_copies,
    by_backward_put_back,
    detached_one_by_one,
    piece_in_the_whole,
]


# ---------------------------------------------------------------------------------------------
# Wrong


def whole_batch(branches, loss, batch, piece):
    value = loss(branches[0](batch[0]), branches[1](batch[1]))
    return torch.autograd.grad(value, parameters_of(branches))


def accumulate(branches, loss, batch, piece, mean=True):
    total = zeros(branches)
    for f in firsts(batch, piece):
        value = loss(*(b(side[f : f + piece]) for b, side in zip(branches, batch, strict=True)))
        total = add(total, torch.autograd.grad(value, parameters_of(branches)))
    return [each / len(firsts(batch, piece)) for each in total] if mean else total


def accumulate_weighted(branches, loss, batch, piece):
    total, size = zeros(branches), len(batch[0])
    for f in firsts(batch, piece):
        parts = [b(side[f : f + piece]) for b, side in zip(branches, batch, strict=True)]
        value = loss(*parts) * len(parts[0]) / size
        total = add(total, torch.autograd.grad(value, parameters_of(branches)))
    return total


def rest_dropped(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    total = zeros(branches)
    for n in range(len(batch[0]) // piece):
        total = add(total, send_back(branches, batch, piece, cache, n * piece))
    return total


def chunks_of_equal_size(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    total, count = zeros(branches), max(1, len(batch[0]) // piece)
    for rows in torch.arange(len(batch[0])).chunk(count):
        emb = [b(side[rows]) for b, side in zip(branches, batch, strict=True)]
        sent = [side[rows] for side in cache]
        total = add(total, torch.autograd.grad(emb, parameters_of(branches), sent))
    return total


def overwritten(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    for first in firsts(batch, piece):
        total = send_back(branches, batch, piece, cache, first)
    return total


def returns_early(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    total = zeros(branches)
    for first in firsts(batch, piece):
        total = add(total, send_back(branches, batch, piece, cache, first))
        return total


def averaged(branches, loss, batch, piece):
    total = both_sides_at_once(branches, loss, batch, piece)
    return [each / len(firsts(batch, piece)) for each in total]


def first_cache(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    total = zeros(branches)
    for f in firsts(batch, piece):
        emb = [b(side[f : f + piece]) for b, side in zip(branches, batch, strict=True)]
        sent = [side[: len(emb[0])] for side in cache]
        total = add(total, torch.autograd.grad(emb, parameters_of(branches), sent))
    return total


def swapped_caches(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))[::-1]
    total = zeros(branches)
    for first in firsts(batch, piece):
        total = add(total, send_back(branches, batch, piece, cache, first))
    return total


def images_alone(branches, loss, batch, piece):
    found = both_sides_at_once(branches, loss, batch, piece)
    count = len(list(branches[0].parameters()))
    return [*found[:count], *(0 * each for each in found[count:])]


def only_the_image_branch(branches, loss, batch, piece):
    return both_sides_at_once(branches, loss, batch, piece)[: len(list(branches[0].parameters()))]


def text_branch_first(branches, loss, batch, piece):
    count = len(list(branches[0].parameters()))
    found = both_sides_at_once(branches, loss, batch, piece)
    return found[count:] + found[:count]


def of_sums(branches, loss, batch, piece):
    total = zeros(branches)
    for f in firsts(batch, piece):
        emb = [b(side[f : f + piece]) for b, side in zip(branches, batch, strict=True)]
        value = emb[0].sum() + emb[1].sum()
        total = add(total, torch.autograd.grad(value, parameters_of(branches)))
    return total


def first_pass_with_graph(branches, loss, batch, piece):
    sides = [
        torch.cat([b(rows) for rows in side.split(piece)])
        for b, side in zip(branches, batch, strict=True)
    ]
    return torch.autograd.grad(loss(*sides), parameters_of(branches))


def first_pass_whole(branches, loss, batch, piece):
    with torch.no_grad():
        sides = [b(side) for b, side in zip(branches, batch, strict=True)]
    cache = cache_of(loss, [side.requires_grad_() for side in sides])
    total = zeros(branches)
    for first in firsts(batch, piece):
        total = add(total, send_back(branches, batch, piece, cache, first))
    return total


def second_pass_kept(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    sides = [
        [b(rows) for rows in side.split(piece)] for b, side in zip(branches, batch, strict=True)
    ]
    emb = [each for side in sides for each in side]
    sent = [each for side in cache for each in side.split(piece)]
    return torch.autograd.grad(emb, parameters_of(branches), sent)


def embeds_all_for_each_piece(branches, loss, batch, piece):
    total = zeros(branches)
    for first in firsts(batch, piece):
        cache = cache_of(loss, embed(branches, batch, piece))
        total = add(total, send_back(branches, batch, piece, cache, first))
    return total


def leaves_grad(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    for f in firsts(batch, piece):
        for branch, side, sent in zip(branches, batch, cache, strict=True):
            branch(side[f : f + piece].detach()).backward(sent[f : f + piece])
    return [p.grad.clone() for p in parameters_of(branches)]


def clears_grad(branches, loss, batch, piece):
    for p in parameters_of(branches):
        p.grad = None
    found = leaves_grad(branches, loss, batch, piece)
    for p in parameters_of(branches):
        p.grad = None
    return found


def leaves_eval(branches, loss, batch, piece):
    for branch in branches:
        branch.eval()
    return both_sides_at_once(branches, loss, batch, piece)


def takes_a_step(branches, loss, batch, piece):
    found = both_sides_at_once(branches, loss, batch, piece)
    with torch.no_grad():
        for p, g in zip(parameters_of(branches), found, strict=True):
            p -= 0.1 * g
    return found


def no_grad_throughout(branches, loss, batch, piece):
    with torch.no_grad():
        return both_sides_at_once(branches, loss, batch, piece)


def cache_without_requires_grad(branches, loss, batch, piece):
    embedded = [side.detach() for side in embed(branches, batch, piece)]
    return cache_of(loss, embedded)


def graph_kept(branches, loss, batch, piece):
    cache = cache_of(loss, embed(branches, batch, piece))
    total = zeros(branches)
    for f in firsts(batch, piece):
        emb = [b(side[f : f + piece]) for b, side in zip(branches, batch, strict=True)]
        sent = [side[f : f + piece] for side in cache]
        parts = torch.autograd.grad(emb, parameters_of(branches), sent, create_graph=True)
        total = add(total, parts)
    return total


def the_loss_too(branches, loss, batch, piece):
    return loss(*embed(branches, batch, piece)), both_sides_at_once(branches, loss, batch, piece)


def own_contrast(branches, loss, batch, piece):
    def other(i, t):
        s = torch.nn.functional.normalize(i) @ torch.nn.functional.normalize(t).T / 0.07
        return torch.nn.functional.cross_entropy(s, torch.arange(len(s)))

    return both_sides_at_once(branches, other, batch, piece)


def cache_only(branches, loss, batch, piece):
    return cache_of(loss, embed(branches, batch, piece))


def one_vector(branches, loss, batch, piece):
    return torch.cat([g.flatten() for g in both_sides_at_once(branches, loss, batch, piece)])


def by_name(branches, loss, batch, piece):
    names = [name for branch in branches for name, _ in branch.named_parameters()]
    return dict(zip(names, both_sides_at_once(branches, loss, batch, piece), strict=False))


WRONG = {
    "whole": ("rows in one call", whole_batch),
    "accumulated, mean": ("loss of its own", accumulate),
    "accumulated, sum": ("loss of its own", lambda *args: accumulate(*args, mean=False)),
    "accumulated, weighted": ("piece", accumulate_weighted),
    "rest dropped": ("last piece", rest_dropped),
    "chunks of equal size": ("rows", chunks_of_equal_size),
    "overwritten": ("overwrites", overwritten),
    "returned within the loop": ("only the first piece", returns_early),
    "averaged": ("divided by the number of pieces", averaged),
    "first cache": ("first piece's part of the cache", first_cache),
    "swapped caches": ("swapped", swapped_caches),
    "images alone": ("nothing is sent back into the text branch", images_alone),
    "half of the parameters": ("results", only_the_image_branch),
    "text branch first": ("shape", text_branch_first),
    "of sums": ("ones are sent back", of_sums),
    "first pass with its graph": ("no_grad", first_pass_with_graph),
    "first pass whole": ("25 rows", first_pass_whole),
    "second pass kept": ("wait", second_pass_kept),
    "embeds all each time": ("times", embeds_all_for_each_piece),
    "leaves .grad": (".grad", leaves_grad),
    "clears .grad": (".grad", clears_grad),
    "leaves eval": ("mode", leaves_eval),
    "takes a step": ("changed in place", takes_a_step),
    "no_grad throughout": ("does not require grad", no_grad_throughout),
    "cache of constants": ("requires_grad", cache_without_requires_grad),
    "graph kept": ("detach", graph_kept),
    "the loss, too": ("results", the_loss_too),
    "another loss": ("numbers are wrong", own_contrast),
    "the cache": ("results", cache_only),
    "one vector": ("results should be", one_vector),
    "a dict": ("dict", by_name),
    "nothing": ("nothing is returned", lambda *args: None),
}
