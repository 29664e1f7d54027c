"""Answers to tasks 2 and 5 of exercise 01: one caption for each image, and shuffled batches."""

import random

import numpy as np
import torch

# ---------------------------------------------------------------------------------------------
# Task 2


def starts_and_counts(owner):
    counts = torch.bincount(owner)
    return counts.cumsum(0) - counts, counts


def vectorised(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + (torch.rand(len(counts), generator=generator) * counts).floor().long()


def in_a_loop(owner, generator):
    chosen = []
    for image in range(int(owner.max()) + 1):
        own = (owner == image).nonzero()[:, 0]
        chosen.append(own[torch.randint(len(own), (), generator=generator)])
    return torch.stack(chosen)


def by_a_permutation(owner, generator):
    order = torch.randperm(len(owner), generator=generator)
    chosen = torch.empty(int(owner.max()) + 1, dtype=torch.int64)
    chosen[owner[order]] = order  # written several times, the last one stays
    for image in range(len(chosen)):
        chosen[image] = order[owner[order] == image][0]
    return chosen


def by_the_largest(owner, generator):
    keys = torch.rand(len(owner), generator=generator, dtype=torch.float64)
    order = torch.argsort(owner + keys)
    starts = torch.searchsorted(owner[order], owner.unique())
    return order[starts]


def by_multinomial(owner, generator):
    images = owner.unique()
    weights = (owner[None, :] == images[:, None]).float()
    return torch.multinomial(weights, 1, generator=generator)[:, 0]


RIGHT_DRAWS = [vectorised, in_a_loop, by_a_permutation, by_the_largest, by_multinomial]


def five_each(owner, generator):
    images = int(owner.max()) + 1
    return 5 * torch.arange(images) + torch.randint(5, (images,), generator=generator)


def five_at_their_starts(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + torch.randint(5, (len(counts),), generator=generator)


def place_alone(owner, generator):
    _, counts = starts_and_counts(owner)
    return (torch.rand(len(counts), generator=generator) * counts).long()


def always_the_first(owner, generator):
    return starts_and_counts(owner)[0]


def one_number(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + (torch.rand(1, generator=generator) * counts).long()


def rounded(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + (torch.rand(len(counts), generator=generator) * (counts - 1)).round().long()


def rounded_up(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + (torch.rand(len(counts), generator=generator) * counts).round().long()


def last_never(owner, generator):
    starts, counts = starts_and_counts(owner)
    top = (counts - 1).clamp(min=1)
    return starts + (torch.rand(len(counts), generator=generator) * top).long()


def first_never(owner, generator):
    starts, counts = starts_and_counts(owner)
    top = (counts - 1).clamp(min=1)
    places = (torch.rand(len(counts), generator=generator) * top).long() + 1
    return starts + places.minimum(counts - 1)


def remainder(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + torch.randint(50, (len(counts),), generator=generator) % counts


def remainder_of_the_largest(owner, generator):
    starts, counts = starts_and_counts(owner)
    numbers = torch.randint(int(counts.max()), (len(counts),), generator=generator)
    return starts + numbers % counts


def rounded_and_cut(owner, generator):
    starts, counts = starts_and_counts(owner)
    places = (torch.rand(len(counts), generator=generator) * counts).round().long()
    return starts + places.minimum(counts - 1)


def one_less(owner, generator):
    starts, counts = starts_and_counts(owner)
    places = [torch.randint(int(count) - 1, (), generator=generator) for count in counts]
    return starts + torch.stack(places)


def one_number_a_count(owner, generator):
    starts, counts = starts_and_counts(owner)
    places = torch.zeros_like(counts)
    for count in counts.unique():
        places[counts == count] = torch.randint(int(count), (1,), generator=generator)
    return starts + places


def behind_the_captions(owner, generator):
    counts = torch.bincount(owner)
    return counts.cumsum(0) + (torch.rand(len(counts), generator=generator) * counts).long()


def squeezed(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + torch.randint(5, (len(counts),), generator=generator).minimum(counts - 1)


def normal(owner, generator):
    starts, counts = starts_and_counts(owner)
    noise = torch.randn(len(counts), generator=generator).sigmoid()
    return starts + (noise * counts).long().minimum(counts - 1)


def global_state(owner, generator):
    starts, counts = starts_and_counts(owner)
    return starts + (torch.rand(len(counts)) * counts).long()


def global_seed(owner, generator):
    torch.manual_seed(generator.initial_seed())
    return global_state(owner, generator)


def by_random(owner, generator):
    own = [[j for j, i in enumerate(owner.tolist()) if i == k] for k in owner.unique()]
    return torch.tensor([random.choice(indices) for indices in own])


def by_numpy(owner, generator):
    rng = np.random.default_rng()
    starts, counts = starts_and_counts(owner)
    return starts + torch.from_numpy(rng.integers(counts.numpy()))


def seeded_inside(owner, generator):
    return vectorised(owner, generator.manual_seed(0))


def own_generator(owner, generator):
    return vectorised(owner, torch.Generator().manual_seed(3))


def from_the_first_seed(owner, generator):
    return vectorised(owner, torch.Generator().manual_seed(generator.initial_seed()))


def copied(owner, generator):
    return vectorised(owner, torch.Generator().set_state(generator.get_state()))


def of_all_captions(owner, generator):
    return torch.randint(len(owner), (int(owner.max()) + 1,), generator=generator)


def sorted_permutation(owner, generator):
    images = int(owner.max()) + 1
    return torch.randperm(len(owner), generator=generator)[:images].sort().values


def per_caption(owner, generator):
    return vectorised(owner, generator)[owner]


def one_image_short(owner, generator):
    return vectorised(owner, generator)[:-1]


def images_too(owner, generator):
    chosen = vectorised(owner, generator)
    return chosen[torch.randperm(len(chosen), generator=generator)]


def in_turns(owner, generator):
    starts, counts = starts_and_counts(owner)
    torch.rand(1, generator=generator)
    in_turns.calls += 1
    return starts + (in_turns.calls + generator.initial_seed()) % counts


in_turns.calls = 0


WRONG_DRAWS = {
    "five each": ("five captions each", five_each),
    "five at their starts": ("not its own", five_at_their_starts),
    "place alone": ("place among", place_alone),
    "always the first": ("always the same", always_the_first),
    "one number for all": ("one random number serves all", one_number),
    "rounded": ("round down", rounded),
    "rounded up": ("not its own", rounded_up),
    "last never": ("last caption", last_never),
    "first never": ("first caption", first_never),
    "remainder": ("equally often", remainder),
    "remainder of the largest": ("equally often", remainder_of_the_largest),
    "rounded and cut": ("equally often", rounded_and_cut),
    "one less": ("not the count - 1", one_less),
    "one number a count": ("one random number serves all", one_number_a_count),
    "behind the captions": ("not its own", behind_the_captions),
    "squeezed": ("equally often", squeezed),
    "normal": ("equally often", normal),
    "global state": ("random state that all code shares", global_state),
    "global seed": ("random state that all code shares", global_seed),
    "module random": ("random state that all code shares", by_random),
    "numpy": ("does not come from `generator`", by_numpy),
    "seeded inside": ("always the same", seeded_inside),
    "own generator": ("always the same", own_generator),
    "first seed": ("same captions in every call", from_the_first_seed),
    "copied": ("same captions in every call", copied),
    "of all captions": ("not its own", of_all_captions),
    "sorted permutation": ("not its own", sorted_permutation),
    "per caption": ("one number per caption", per_caption),
    "one image short": ("(images,)", one_image_short),
    "images shuffled, too": ("not its own", images_too),
    "a list": ("list", lambda owner, generator: vectorised(owner, generator).tolist()),
    "floats": ("int64", lambda owner, generator: vectorised(owner, generator).float()),
    "int32": ("int64", lambda owner, generator: vectorised(owner, generator).int()),
    "a column": ("shape", lambda owner, generator: vectorised(owner, generator)[:, None]),
    "in turns": ("does not come from", in_turns),
    "nothing": ("nothing is returned", lambda owner, generator: None),
}

# ---------------------------------------------------------------------------------------------
# Task 5


def one_after_another(n, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epoch + 1):
        order = torch.randperm(n, generator=generator)
    return [order[i : i + batch_size] for i in range(0, n - batch_size + 1, batch_size)]


def by_seed_sequence(n, batch_size, seed, epoch):
    order = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n))
    return [part for part in order.split(batch_size) if len(part) == batch_size]


def by_random_module(n, batch_size, seed, epoch):
    order = list(range(n))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return [
        torch.tensor(order[k * batch_size : (k + 1) * batch_size]) for k in range(n // batch_size)
    ]


def by_a_drawn_seed(n, batch_size, seed, epoch):
    seeds = torch.Generator().manual_seed(seed)
    drawn = torch.randint(2**62, (epoch + 1,), generator=seeds)[-1]
    order = torch.rand(n, generator=torch.Generator().manual_seed(int(drawn))).argsort()
    return list(order[: n // batch_size * batch_size].view(-1, batch_size))


def by_a_large_factor(n, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    full = n - n % batch_size
    return list(torch.randperm(n, generator=generator)[:full].split(batch_size)) if full else []


RIGHT_BATCHES = [
    one_after_another,
    by_seed_sequence,
    by_random_module,
    by_a_drawn_seed,
    by_a_large_factor,
]


def cut(order, batch_size):
    return list(order[: len(order) // batch_size * batch_size].reshape(-1, batch_size))


def permuted(n, number):
    return torch.randperm(n, generator=torch.Generator().manual_seed(number))


def with_seed(combine):
    return lambda n, size, seed, epoch: cut(permuted(n, combine(seed, epoch)), size)


def last_one_kept(n, batch_size, seed, epoch):
    return list(permuted(n, 1_000_003 * seed + epoch).split(batch_size))


def last_full_one_dropped(n, batch_size, seed, epoch):
    return list(permuted(n, 1_000_003 * seed + epoch).split(batch_size))[:-1]


def rest_cut_first(n, batch_size, seed, epoch):
    return cut(permuted(n // batch_size * batch_size, 1_000_003 * seed + epoch), batch_size)


def with_putting_back(n, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return cut(torch.randint(n, (n,), generator=generator), batch_size)


def each_batch_anew(n, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return [torch.randperm(n, generator=generator)[:batch_size] for _ in range(n // batch_size)]


def batches_shuffled(n, batch_size, seed, epoch):
    rows = torch.arange(n // batch_size * batch_size).reshape(-1, batch_size)
    return list(rows[permuted(len(rows), 1_000_003 * seed + epoch)])


def inside_shuffled(n, batch_size, seed, epoch):
    inside = permuted(batch_size, 1_000_003 * seed + epoch)
    rows = torch.arange(n // batch_size * batch_size).reshape(-1, batch_size)
    return list(rows[:, inside])


def same_batches(n, batch_size, seed, epoch):
    rows = cut(permuted(n, seed), batch_size)
    return [rows[int(k)] for k in permuted(len(rows), 1_000_003 * seed + epoch)]


def rolled(n, batch_size, seed, epoch):
    return cut(permuted(n, seed).roll(epoch), batch_size)


def rolled_file(n, batch_size, seed, epoch):
    start = int(permuted(n, 1_000_003 * seed + epoch)[0])
    return cut(torch.arange(n).roll(start), batch_size)


def backwards(n, batch_size, seed, epoch):
    order = permuted(n, seed)
    return cut(order.flip(0) if epoch % 2 else order.roll(epoch), batch_size)


def global_seed(n, batch_size, seed, epoch):
    torch.manual_seed(1_000_003 * seed + epoch)
    return cut(torch.randperm(n), batch_size)


def numpy_seed(n, batch_size, seed, epoch):
    np.random.seed(1_000 * seed + epoch)
    return cut(torch.from_numpy(np.random.permutation(n)), batch_size)


def unseeded(n, batch_size, seed, epoch):
    order = torch.from_numpy(np.random.default_rng().permutation(n))
    return cut(order, batch_size)


def by_shuffle(n, batch_size, seed, epoch):
    order = list(range(n))
    random.shuffle(order)
    return cut(torch.tensor(order), batch_size)


def from_one(n, batch_size, seed, epoch):
    return [batch + 1 for batch in one_after_another(n, batch_size, seed, epoch)]


def drawn_badly(n, batch_size, seed, epoch):
    """Every place is exchanged with any other, which prefers some orders."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = list(range(n))
    for i in range(n):
        j = int(torch.randint(n, (), generator=generator))
        order[i], order[j] = order[j], order[i]
    return cut(torch.tensor(order), batch_size)


def part_by_part(n, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    parts = torch.arange(n).split(100)
    order = [part[torch.randperm(len(part), generator=generator)] for part in parts]
    return cut(torch.cat(order), batch_size)


WRONG_BATCHES = {
    "not shuffled": ("not shuffled", lambda n, size, seed, epoch: cut(torch.arange(n), size)),
    "seed alone": ("every epoch has the same order", with_seed(lambda seed, epoch: seed)),
    "epoch alone": ("every seed gives the same order", with_seed(lambda seed, epoch: epoch)),
    "sum": ("seed + epoch", with_seed(lambda seed, epoch: seed + epoch)),
    "product": ("product", with_seed(lambda seed, epoch: seed * epoch)),
    "product from one": ("has the order of", with_seed(lambda s, e: (s + 1) * (e + 1))),
    "difference": ("difference", with_seed(lambda seed, epoch: abs(seed - epoch))),
    "ten seeds": ("too small", with_seed(lambda seed, epoch: 10 * seed + epoch)),
    "hundred seeds": ("too small", with_seed(lambda seed, epoch: 100 * seed + epoch)),
    "thousand seeds": ("too small", with_seed(lambda seed, epoch: 1000 * seed + epoch)),
    "ten thousand seeds": ("too small", with_seed(lambda seed, epoch: 10_000 * seed + epoch)),
    "31 seeds": ("too small", with_seed(lambda seed, epoch: 31 * seed + epoch)),
    "256 seeds": ("too small", with_seed(lambda seed, epoch: 256 * seed + epoch)),
    "hundred epochs": ("before the epoch", with_seed(lambda seed, epoch: seed + 100 * epoch)),
    "thousand epochs": ("before the epoch", with_seed(lambda seed, epoch: seed + 1000 * epoch)),
    "exclusive or": ("has the order of", with_seed(lambda seed, epoch: seed ^ epoch)),
    "written together": ("has the order of", with_seed(lambda s, e: int(f"{s}{e}"))),
    "part by part": ("near their place", part_by_part),
    "shifted by 32 bits": ("every seed gives", with_seed(lambda s, e: (s << 32) + e)),
    "last one kept": ("incomplete", last_one_kept),
    "last full one dropped": ("although it is full", last_full_one_dropped),
    "rest cut first": ("never trained on", rest_cut_first),
    "with putting back": ("twice", with_putting_back),
    "each batch anew": ("twice", each_batch_anew),
    "batches shuffled": ("neighbours", batches_shuffled),
    "inside shuffled": ("neighbours", inside_shuffled),
    "same batches": ("hold the same images", same_batches),
    "rolled": ("begun elsewhere", rolled),
    "rolled file": ("neighbours", rolled_file),
    "backwards": ("in another order", backwards),
    "global seed": ("random state that all code shares", global_seed),
    "numpy seed": ("random state that all code shares", numpy_seed),
    "unseeded": ("two orders", unseeded),
    "random shuffle": ("random state that all code shares", by_shuffle),
    "from one": ("0 …", from_one),
    "drawn badly": ("equally likely", drawn_badly),
    "an iterator": (
        "a list of tensors is wanted",
        lambda n, b, s, e: iter(one_after_another(n, b, s, e)),
    ),
    "one tensor": (
        "one tensor",
        lambda n, b, s, e: permuted(n, 1_000_003 * s + e)[: n // b * b].reshape(-1, b),
    ),
    "lists": ("list", lambda n, b, s, e: [x.tolist() for x in one_after_another(n, b, s, e)]),
    "int32": ("int64", lambda n, b, s, e: [x.int() for x in one_after_another(n, b, s, e)]),
    "one batch": ("batches", lambda n, b, s, e: one_after_another(n, b, s, e)[:1]),
    "nothing": ("nothing is returned", lambda n, b, s, e: None),
}
