"""The checks of exercise 01, one for each of its tasks.

    from mmret_lib import checks
    checks.data_pipeline.check_read_captions(read_captions)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.pipeline`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.pipeline import captions, draws, normalising, orders, padding, reading

__all__ = [
    "check_batches",
    "check_normalise",
    "check_one_caption_each",
    "check_pad",
    "check_read_captions",
]

# ---------------------------------------------------------------------------------------------
# Task 1: captions and their images


def caption_file(images: list[tuple[int, str]], texts: list[tuple[int, int, str]]) -> Any:
    """The content of a caption file: (id, file name) and (id, image id, caption)."""
    return {
        "images": [{"id": image_id, "file_name": name} for image_id, name in images],
        "annotations": [
            {"id": caption_id, "image_id": image_id, "caption": text}
            for caption_id, image_id, text in texts
        ],
    }


MIXED = caption_file(
    [(30, "c.jpg"), (7, "e.jpg"), (581, "a.jpg"), (12, "d.jpg"), (9, "b.jpg")],
    [
        (4, 9, "Two boots."),
        (21, 30, "A zebra."),
        (3, 581, "A bus in the snow."),
        (8, 9, "A pair of boots."),
        (2, 30, "Zebra on grass."),
        (5, 581, "a red Bus "),
        (6, 9, "Two boots."),
        (1, 12, "Fish."),
        (7, 30, "An animal."),
    ],
)
IN_ORDER = caption_file(
    [(0, "0.jpg"), (1, "1.jpg"), (2, "2.jpg")],
    [(0, 0, "One."), (1, 0, "Two."), (2, 1, "Three."), (3, 2, "Four."), (4, 2, "Five.")],
)
FIVE_EACH = caption_file(
    [(i, f"{i}.jpg") for i in (3, 1, 2)],
    [(5 * j + i, i, f"{i} again" * (j + 1)) for j in range(5) for i in (2, 1, 3)],
)
BY_HAND = caption_file(
    [(8, "p.jpg"), (5, "q.jpg"), (2, "r.jpg")],
    [(0, 2, "Bear."), (1, 8, "Bus."), (2, 2, "A bear.")],
)
CAPTION_TASK = Task(
    name="read_captions",
    right=captions.read_captions,
    cases=[
        Case((MIXED,), "a file of five images, one of them without captions"),
        Case((IN_ORDER,), "a file that is in order"),
        Case((FIVE_EACH,), "three images with five captions each, in turn"),
        Case(
            (BY_HAND,),
            "images 8, 5, 2 and captions of images 2, 8, 2, which make p.jpg, r.jpg and owner 0, "
            "1, 1",
        ),
    ],
    mistakes=captions.WRONG_CAPTIONS,
    properties=(
        reading.takes_a_file_without_captions,
        reading.refuses_an_unlisted_image,
        reading.goes_through_the_captions_once,
    ),
    has_gradient=False,
    remark=(
        "COCO's list of captions is not sorted by image: whoever counts instead of looking at "
        "image_id trains on pairs that do not belong together, and no error says so."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: one caption for each image


def drawn_by_hand(owner: Tensor, generator: torch.Generator) -> Tensor:
    """A right answer, the one of the solution."""
    counts = torch.bincount(owner)
    places = (torch.rand(len(counts), generator=generator) * counts).long()
    return counts.cumsum(0) - counts + places


DRAW_TASK = Task(
    name="one_caption_each",
    right=drawn_by_hand,
    cases=[],
    mistakes=[],
    properties=draws.PROPERTIES,
    has_gradient=False,
    remark=(
        "In five epochs an image with five captions shows on average 3.4 of them: a model that "
        "never sees the same sentence in every epoch has to learn what the sentences share."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: padding

BY_LENGTH = "the mask is told by the value: pad_id can be a token, so tell it by the lengths"
PAD_TASK = Task(
    name="pad",
    right=padding.pad,
    cases=[
        Case(([[2, 349, 6, 3], [2, 7, 159, 0, 370, 3], [2, 3]], 0), "lists of 4, 6 and 2 tokens"),
        Case(
            ([[5, 9, 9], [9], [4, 1], [9, 9, 7]], 9),
            "pad_id 9 among the tokens",
            (BY_LENGTH,),
        ),
        Case(([[1, 2], [3, 4]], 7), "two lists of the same length"),
        Case(([[], [4, 0, 8], []], -1), "a list without tokens, and pad_id -1"),
        Case(([[6] * 12, [5]], 30521), "lists of 12 and 1 tokens, and pad_id 30521"),
        Case(
            ([[], []], 3),
            "lists without tokens alone",
            ("lists without tokens should give shapes (B, 0), ids in int64 and the mask in bool",),
        ),
        Case(([[8, 4], [5]], 1), "[[8, 4], [5]] and pad_id 1"),
    ],
    mistakes=padding.WRONG_PADS,
    has_gradient=False,
    remark=(
        "What stands behind the mask is never read; it only makes the rows equally long. A batch "
        "costs what its longest caption costs."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: colours


def pictures(*shape: int, seed: int = 0) -> Tensor:
    """Random bytes (B, 3, H, W), with darkest and brightest among them."""
    generator = seeded(seed)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8, device="cpu")
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 255
    return images


def flat(*colours: int) -> Tensor:
    """(1, 3, 1, 1): one pixel."""
    return torch.tensor(colours, dtype=torch.uint8, device="cpu").reshape(1, 3, 1, 1)


NORMAL_TASK = Task(
    name="normalise",
    right=normalising.normalise,
    cases=[
        Case(
            (pictures(3, 3, 3, 3), normalising.MEAN, normalising.STD),
            "three pictures of 3 x 3 pixels",
        ),
        Case(
            (3 + pictures(3, 3, 3, 3, seed=1) // 2, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            "dark pictures, and ImageNet's mean and std",
        ),
        Case((pictures(3, 3, 3, 3, seed=2), [0.1, 0.4, 0.9], [1.0, 0.5, 2.0]), "lists of colours"),
        Case((pictures(3, 3, 3, 3, seed=3), (0, 0, 0), (1, 1, 1)), "mean 0 and std 1"),
        Case(
            (flat(0, 51, 255), (0.2, 0.2, 0.5), (0.5, 0.1, 0.25)),
            "one pixel (0, 51, 255), mean (0.2, 0.2, 0.5), std (0.5, 0.1, 0.25)",
        ),
    ],
    mistakes=normalising.WRONG_NORMALS,
    properties=(
        normalising.takes_every_size,
        normalising.gives_float32,
        normalising.follows_the_device,
    ),
    has_gradient=False,
    half=False,
    remark=(
        "Bytes travel through the loader at a quarter of the size of floats, and become floats "
        "where the model is."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 5: batches


def batches_by_hand(n: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """A right answer."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n, generator=generator)
    return list(order[: n - n % batch_size].reshape(-1, batch_size))


BATCH_TASK = Task(
    name="batches",
    right=batches_by_hand,
    cases=[],
    mistakes=[],
    properties=orders.PROPERTIES,
    has_gradient=False,
    remark=(
        "Seed and epoch say everything, so a training that is interrupted in epoch 7 goes on with "
        "the very batches of epoch 7."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_read_captions(function: Callable[..., Any]) -> None:
    """Task 1: function(annotations) -> (file names, captions, owner (captions,))."""
    check(CAPTION_TASK, function)


def check_one_caption_each(function: Callable[..., Tensor]) -> None:
    """Task 2: function(owner (captions,), generator) -> caption indices (images,)."""
    check(DRAW_TASK, function)


def check_pad(function: Callable[..., Any]) -> None:
    """Task 3: function(token_lists, pad_id) -> (ids (B, L), mask (B, L))."""
    check(PAD_TASK, function)


def check_normalise(function: Callable[..., Tensor]) -> None:
    """Task 4: function(images_uint8 (B, 3, H, W), mean, std) -> float32 (B, 3, H, W)."""
    check(NORMAL_TASK, function)


def check_batches(function: Callable[..., Any]) -> None:
    """Task 5: function(n, batch_size, seed, epoch) -> a list of index tensors (batch_size,)."""
    check(BATCH_TASK, function)
