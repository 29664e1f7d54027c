"""Shuffled batches: what the order of an epoch keeps to, and what breaks it.

As with `draws`, right answers have different orders, and each property holds for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.pipeline.draws import NOTHING, chi_square, leaves_states, too_large

Batches = Callable[[int, int, int, int], Sequence[Tensor]]

SIZES = ((10, 3), (12, 4), (7, 7), (9, 1), (64, 5))
# What a seed may be multiplied by before the epoch is added; each gives two pairs one order.
FACTORS = (*range(2, 66), 97, 99, 100, 101, 127, 128, 255, 256, 257, 500, 512, 997, 999, 1000)
FACTORS += (1001, 1023, 1024, 4096, 10_000)
OTHER_ORDER = (
    "seed the generator of torch.randperm with a number that seed and epoch make together, or draw "
    "epoch + 1 permutations from one generator of that seed and take the last"
)


def has_the_form(function: Batches) -> str | None:
    """A list of int64 tensors (batch_size,)."""
    for n, batch_size in SIZES:
        given: Any = function(n, batch_size, 3, 1)
        if given is None:
            return NOTHING
        if wrong := wrong_kind(given) or wrong_sizes(given, n, batch_size):
            return f"for n = {n} and batch_size = {batch_size} {wrong}"
    if len(function(3, 5, 0, 0)):
        return "for n = 3 and batch_size = 5 no batch is full: the list should be empty"
    return None


def wrong_kind(given: Any) -> str | None:
    """What is returned instead of a list of int64 tensors."""
    if isinstance(given, Tensor):
        return "one tensor is returned: a list of tensors is wanted, one for each batch"
    if not isinstance(given, list | tuple):
        kind = type(given).__name__
        return f"a {kind} is returned: a list of tensors is wanted, one for each batch"
    for batch in given:
        if not isinstance(batch, Tensor):
            kind = type(batch).__name__
            return f"a batch is a {kind}: a tensor of int64 is wanted, shape (batch_size,)"
        if batch.dtype != torch.int64:
            kind = str(batch.dtype).removeprefix("torch.")
            return f"a batch is {kind}: indices are int64, as torch.randperm gives them"
    return None


def wrong_sizes(given: Sequence[Tensor], n: int, batch_size: int) -> str | None:
    """Too many batches, too few, or of another size."""
    shapes = [tuple(batch.shape) for batch in given]
    count = n // batch_size
    if len(given) == count + 1 and shapes[-1] == (n % batch_size,):
        return (
            f"the last batch has {n % batch_size} and not {batch_size}: leave the incomplete one "
            "out, for a contrastive loss depends on the number of negatives"
        )
    if len(given) == count - 1 and not n % batch_size:
        return (
            f"the last batch is left out although it is full: {count} batches are wanted, "
            "n // batch_size"
        )
    if len(given) == count and all(shape == (batch_size,) for shape in shapes):
        return None
    found = ", ".join(map(str, shapes[:4])) + (", …" if len(shapes) > 4 else "")
    return (
        f"there should be {count} batches of shape ({batch_size},), and there are {len(given)}: "
        f"{found}"
    )


def joined(function: Batches, n: int, batch_size: int, seed: int = 0, epoch: int = 0) -> Tensor:
    """All indices of an epoch in their order."""
    return torch.cat(list(function(n, batch_size, seed, epoch)))


def leaves_the_global_state_alone(function: Batches) -> str | None:
    """Nothing is drawn from, or set in, the random states that all code shares."""
    if leaves_states(lambda: function(20, 4, 3, 1)):
        return None
    return (
        "it draws from the random state that all code shares, or seeds it: other code (dropout, "
        "new weights) would repeat itself in every epoch. Make a generator of its own, "
        "torch.Generator().manual_seed(…), and hand it to torch.randperm"
    )


def shows_each_once(function: Batches) -> str | None:
    """Indices from 0 to n - 1, none twice in an epoch."""
    for n, batch_size in (*SIZES, (200, 8)):
        order = joined(function, n, batch_size, 5, 2)
        if order.min() < 0 or order.max() >= n:
            return (
                f"for n = {n} indices run from {int(order.min())} to {int(order.max())}: they "
                f"should lie in 0 … {n - 1}"
            )
        if len(order.unique()) < len(order):
            return (
                "an index comes twice in one epoch: draw without putting back, torch.randperm(n), "
                "and cut the permutation into batches"
            )
    return None


def is_shuffled(function: Batches) -> str | None:
    """Neither the file's order, nor runs of it, nor a turn of it, nor the same batches again."""
    n, batch_size = 240, 8
    order = joined(function, n, batch_size, 5, 2)
    if torch.equal(order, torch.arange(len(order))):
        return "the indices are not shuffled: cut torch.randperm(n, generator=…) into batches"
    steps = (order.diff() % n).unique(return_counts=True)[1]
    rows = order.reshape(-1, batch_size)
    spans = (rows.amax(dim=1) - rows.amin(dim=1) == batch_size - 1).float().mean()
    if spans > 0.5:
        return (
            "a batch holds neighbours of the file: only whole batches are shuffled, or only the "
            "inside of each. Shuffle all indices, then cut them into batches"
        )
    if int(steps.max()) > n // 2:
        return (
            "the order is that of the file, begun elsewhere or taken in steps: shuffle all "
            "indices, torch.randperm(n, generator=…)"
        )
    places = torch.stack([order, torch.arange(len(order))]).double()
    if torch.corrcoef(places)[0, 1].abs() > 0.5:  # seven standard deviations from chance
        return (
            "most indices stay near their place in the file, as when it is shuffled part by part: "
            "shuffle all indices at once, torch.randperm(n, generator=…)"
        )
    return None


def repeats_itself(function: Batches) -> str | None:
    """The same seed and epoch give the same order."""
    if torch.equal(joined(function, 50, 7, 4, 3), joined(function, 50, 7, 4, 3)):
        return None
    return (
        "the same seed and epoch give two orders: an interrupted training could not go on with the "
        "batches that it had. Seed a generator of your own in each call"
    )


def differs(function: Batches) -> str | None:
    """Other seeds and other epochs give other orders, however the two are combined."""

    def same(first: tuple[int, int], second: tuple[int, int]) -> bool:
        return torch.equal(joined(function, 60, 8, *first), joined(function, 60, 8, *second))

    if same((3, 0), (3, 1)) and same((3, 1), (3, 2)):
        return f"every epoch has the same order: {OTHER_ORDER}"
    if same((0, 4), (1, 4)) and same((1, 4), (2, 4)):
        return f"every seed gives the same order: {OTHER_ORDER}"
    says = "seed {} in epoch {} has the order of seed {} in epoch {}, {}: "
    added, product = "as when seed + epoch is the seed", "as when their product is the seed"
    difference = "as when their difference is the seed"
    small = "so the factor before the seed is too small for a long training"
    large = "so a factor before the epoch makes it another seed"
    for first, second, why in (
        ((5, 5), (4, 6), added),
        ((0, 3), (1, 2), added),
        ((2, 6), (3, 4), product),
        ((0, 1), (0, 2), product),
        ((1, 1), (0, 3), product),
        ((3, 1), (5, 3), difference),
        ((7, 7), (4, 4), difference),
        ((1, 2), (2, 1), "as when it makes no difference which is which"),
        *(((1, 0), (0, factor), small) for factor in FACTORS),
        ((2, 3), (0, 2003), small),
        *(((factor, 0), (0, 1), large) for factor in (*range(2, 2000), *FACTORS)),
    ):
        if same(first, second):
            return says.format(*first, *second, why) + OTHER_ORDER
    return None


def epochs_are_new_orders(function: Batches) -> str | None:
    """An epoch's order is not the one before it, moved or cut otherwise."""
    n, batch_size = 240, 8
    orders = [joined(function, n, batch_size, 6, epoch) for epoch in range(3)]
    batches = [{frozenset(row.tolist()) for row in o.reshape(-1, batch_size)} for o in orders]
    if len(batches[0] & batches[1]) > n // batch_size // 4:
        return (
            "the batches of every epoch hold the same images, in another order: shuffle all "
            "indices anew, or an image always meets the same negatives"
        )
    follows = [set(zip(o[:-1].tolist(), o[1:].tolist(), strict=True)) for o in orders]
    reversed_ = [{(b, a) for a, b in pairs} for pairs in follows]
    for later in (1, 2):
        if max(len(follows[0] & follows[later]), len(reversed_[0] & follows[later])) > n // 4:
            return (
                "an epoch has the order of another one, begun elsewhere or backwards: shuffle anew "
                "in every epoch"
            )
    return None


def shows_all_in_time(function: Batches) -> str | None:
    """Each index comes in each place, and is left out, equally often: chi-square."""
    n, batch_size, epochs, seeds = 7, 3, 10, 300
    orders = torch.stack(
        [joined(function, n, batch_size, 40 + s, e) for s in range(seeds) for e in range(epochs)]
    )
    times = torch.stack([torch.bincount(place, minlength=n) for place in orders.T]).double()
    if int((times.sum(dim=0) == 0).sum()) >= n % batch_size:
        return (
            "always the same indices are left out of the batches, so they are never trained on: "
            "shuffle all n first, then leave out the rest of the permutation"
        )
    # Rows are places, columns indices; a row misses no index for long.
    if chi_square(times, len(orders) / n) > too_large(times.numel() - len(times)):
        return (
            "some indices stand in some places more often than others: torch.randperm makes all "
            "orders equally likely"
        )
    return None


PROPERTIES = (
    has_the_form,
    leaves_the_global_state_alone,
    repeats_itself,
    shows_each_once,
    is_shuffled,
    differs,
    epochs_are_new_orders,
    shows_all_in_time,
)
