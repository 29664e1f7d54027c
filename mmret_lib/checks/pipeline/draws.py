"""Drawing one caption for each image: what a right draw keeps to, and what breaks it.

Draws differ between right answers, so nothing is compared with one of them. Each property looks at
many draws; chance fails a right answer about once in 10**9, and never with the seeds used here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.check import random_states, same_states
from mmret_lib.checks.engine.seeds import seeded

Draw = Callable[[Tensor, torch.Generator], Tensor]

NOTHING = "nothing is returned: the last line should be `return ...`"
SURE = 6.0  # standard deviations: chance goes beyond once in 10**9
COUNTS = (5, 1, 7, 2, 5, 40, 3)  # captions of each image
DRAWS = 3000
FEW = (4, 4, 3, 4, 2)
UNUSUAL = 2_718_281_828


def owner_of(counts: tuple[int, ...]) -> Tensor:
    """(captions,) for images with so many captions each."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


OWNER = owner_of(COUNTS)
STARTS = torch.tensor(COUNTS).cumsum(0) - torch.tensor(COUNTS)


def too_large(freedom: int) -> float:
    """The chi-square that chance exceeds once in 10**9 (Wilson and Hilferty's approximation)."""
    width = 2 / (9 * freedom)
    return float(freedom * (1 - width + SURE * width**0.5) ** 3)


def chi_square(counts: Tensor, wanted: Tensor | float) -> float:
    """How far counts are from those wanted."""
    return float(((counts - wanted) ** 2 / wanted).sum())


def draws(function: Draw, owner: Tensor = OWNER, number: int = DRAWS, seed: int = 11) -> Tensor:
    """(number, images): so many draws from one generator."""
    generator = seeded(seed)
    return torch.stack([function(owner, generator) for _ in range(number)])


def leaves_states(call: Callable[[], Any]) -> bool:
    """Whether a call leaves the random states that all code shares as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNUSUAL)  # so that a seed inside the call changes the state
        before = random_states()
        call()
        return same_states(before, random_states())


def has_the_form(function: Draw) -> str | None:
    """Int64, one index for each image."""
    value: Any = function(OWNER, seeded(0))
    if value is None:
        return NOTHING
    if not isinstance(value, Tensor):
        return (
            f"a {type(value).__name__} is returned: a tensor of int64 is wanted, such as "
            "torch.tensor(indices) or torch.stack(indices)"
        )
    if value.shape == OWNER.shape:
        return "one number per caption is returned: one caption index per image is wanted"
    if value.shape != (len(COUNTS),):
        return (
            f"the result has shape {tuple(value.shape)}: it should be (images,), one caption index "
            "for each image, and there are owner.max() + 1 images"
        )
    if value.dtype != torch.int64:
        kind = str(value.dtype).removeprefix("torch.")
        return f"the indices are {kind}: int64 is wanted, .long(), or they cannot index anything"
    return None


def leaves_the_global_state_alone(function: Draw) -> str | None:
    """Nothing is drawn from, or set in, the random states that all code shares."""
    if leaves_states(lambda: function(OWNER, seeded(0))):
        return None
    return (
        "it draws from the random state that all code shares, or seeds it: hand the generator on, "
        "as in torch.rand(n, generator=generator)"
    )


def draws_own_captions(function: Draw) -> str | None:
    """Every index drawn is that of a caption of its image."""
    drawn = draws(function, number=200)
    exists = (drawn >= 0) & (drawn < len(OWNER))
    right = exists & (OWNER[drawn.clamp(0, len(OWNER) - 1)] == torch.arange(len(COUNTS)))
    if right.all():
        return None
    if ((drawn >= 0) & (drawn < torch.tensor(COUNTS))).all():
        return (
            "the place among the image's own captions is returned (0 for its first one): the index "
            "in the list of all captions is wanted, so add where the image's captions begin"
        )
    if (drawn[:, 0] < 5).all() and right[:, 0].all() and not right[:, 2].all():
        return (
            "images are taken to have five captions each, or equally many: here they have "
            f"{', '.join(map(str, COUNTS))}. torch.bincount(owner) counts them, and an image's "
            "first caption stands at the sum of the counts before it"
        )
    image = int((~right).any(dim=0).nonzero()[0])
    draw = int(drawn[int((~right[:, image]).nonzero()[0]), image])
    whose = (
        f"caption {draw} belongs to image {int(OWNER[draw])}"
        if 0 <= draw < len(OWNER)
        else (f"there is no caption {draw}")
    )
    first = int(STARTS[image])
    return (
        f"an image gets a caption that is not its own: for images with {COUNTS} captions, image "
        f"{image} got caption {draw}, and {whose} (its own are {first} to "
        f"{first + COUNTS[image] - 1})"
    )


def goes_by_the_generator(function: Draw) -> str | None:
    """The same state gives the same draw, and each call moves the state on."""
    first, again = function(OWNER, seeded(1)), function(OWNER, seeded(1))
    if not torch.equal(first, again):
        return (
            "two generators with the same seed give different captions: some of the randomness "
            "does not come from `generator`"
        )
    generator = seeded(1)
    calls = [function(OWNER, generator) for _ in range(6)]
    others = [function(OWNER, seeded(seed)) for seed in range(6)]
    if all(torch.equal(call, calls[0]) for call in calls):
        if all(torch.equal(other, others[0]) for other in others):
            return (
                "the captions are always the same, whatever the generator: draw anew in each call, "
                "with generator=generator"
            )
        return (
            "the same generator gives the same captions in every call: it is seeded or copied "
            "inside. Draw from the generator as it is, so that each epoch gets other captions"
        )
    if all(torch.equal(other, others[0]) for other in others):
        return (
            "generators with different seeds give the same captions: a seed is fixed inside. Draw "
            "from `generator`, and do not seed it"
        )
    return None


def halved(times: Tensor) -> bool:
    """Whether the first and the last come half as often as all others."""
    inner = times[1:-1]
    ends = times[[0, -1]] / inner.mean() if len(inner) else times
    even = len(inner) > 1 and bool((inner - inner.mean()).abs().max() < 0.15 * inner.mean())
    return even and bool(((ends - 0.5).abs() < 0.1).all())


def is_uniform(function: Draw) -> str | None:
    """Each caption of an image is drawn equally often."""
    return uneven(draws(function), COUNTS) or uneven(draws(function, owner_of(FEW)), FEW)


def uneven(drawn: Tensor, counts: tuple[int, ...]) -> str | None:
    """What is wrong with how often the captions of each image were drawn, if anything is."""
    starts = torch.tensor(counts).cumsum(0) - torch.tensor(counts)
    for image, (start, count) in enumerate(zip(starts.tolist(), counts, strict=True)):
        times = torch.bincount(drawn[:, image] - start, minlength=count).double()
        if count == 1 or chi_square(times, DRAWS / count) <= too_large(count - 1):
            continue
        if times[-1] == 0 and (times[:-1] > 0).all() and count > 2:
            what = (
                "the last caption of an image is never drawn: the upper end of torch.randint is "
                "left out already, so it is the count and not the count - 1"
            )
        elif times[0] == 0:
            what = "the first caption of an image is never drawn: places count from 0"
        elif halved(times):
            what = "an image's first and last caption are drawn half as often: round down, not off"
        else:
            what = (
                "not every caption of an image is drawn equally often: take floor(u * count) with "
                "u uniform in 0..1"
            )
        shares = ", ".join(f"{100 * share:.0f}" for share in (times / DRAWS)[:7])
        more = ", …" if count > 7 else ""
        return f"{what}. Of {count} captions these shares (%) were drawn: {shares}{more}"
    return None


def is_independent(function: Draw) -> str | None:
    """The draws of two images, and two draws of an image, have nothing to do with each other."""
    drawn = draws(function, owner_of(FEW), seed=12) - torch.tensor([0, 4, 8, 11, 15])
    says = (
        "one random number serves all images, so images with equally many captions always get the "
        "same place: draw a number for each image, torch.rand(images, generator=generator)"
    )
    columns = [(0, 1), (1, 3), (0, 2), (2, 3), (0, 4), (2, 4)]
    for first, second in columns:
        both = drawn[:, first] * FEW[second] + drawn[:, second]
        cells = FEW[first] * FEW[second]
        times = torch.bincount(both, minlength=cells).double()
        if chi_square(times, DRAWS / cells) > too_large(cells - 1):
            return says
    both = 4 * drawn[:-1, 0] + drawn[1:, 0]
    times = torch.bincount(both, minlength=16).double()
    # A pair shares a draw with the next one, which chi-square has to allow for.
    if chi_square(times, (DRAWS - 1) / 16) > 2 * too_large(15):
        return (
            "a draw depends on the one before it, as when captions take turns: draw each anew, at "
            "random"
        )
    return None


PROPERTIES = (
    has_the_form,
    leaves_the_global_state_alone,
    goes_by_the_generator,
    draws_own_captions,
    is_uniform,
    is_independent,
)
