"""Calls with drawn numbers and sizes, for each task whose check compares with a right formula.

Each function below draws the arguments of one call; `CALLS` has them by the tasks' names. They hold
for any right answer: no two scores tie unless the formula says what is then right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Args = tuple[Any, ...]


def normal(draw: random.Random, *shape: int) -> Tensor:
    """Normally distributed numbers in float64."""
    generator = torch.Generator("cpu").manual_seed(draw.randrange(2**31))
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def sizes(draw: random.Random, *ranges: tuple[int, int]) -> list[int]:
    """One whole number of each range, its ends included."""
    return [draw.randint(*each) for each in ranges]


def pairs(draw: random.Random, least: int = 2, dim: int = 2) -> tuple[Tensor, Tensor]:
    """Embeddings (B, D) whose positives are similar."""
    b, d = sizes(draw, (max(least, 2), 11), (dim, 8))
    shared, image_own, text_own = normal(draw, 3, b, d)
    return 2 * (shared + image_own) + 0.3, shared + text_own


def cosines(draw: random.Random) -> Tensor:
    """Cosines (B, B) of such pairs."""
    image_emb, text_emb = (nn.functional.normalize(emb) for emb in pairs(draw, 3))
    return image_emb @ text_emb.T


def distinct(draw: random.Random, rows: int, columns: int) -> Tensor:
    """Scores (rows, columns) of which no two are equal, exact in float16."""
    values = draw.sample(range(1024), rows * columns)
    return torch.tensor(values, dtype=torch.float64).reshape(rows, columns) / 256 - 2


def owners(draw: random.Random, groups: int, count: int) -> Tensor:
    """(count,) the group of each, none of which is without any."""
    drawn = [*range(groups), *(draw.randrange(groups) for _ in range(count - groups))]
    return torch.tensor(draw.sample(drawn, count))


def mask(draw: random.Random, rows: int, columns: int) -> Tensor:
    """(rows, columns), True for the first pieces of each text, at least one."""
    lengths = torch.tensor([draw.randint(1, columns) for _ in range(rows)])
    return torch.arange(columns) < lengths[:, None]


def top_k(draw: random.Random) -> Args:
    n, d = sizes(draw, (4, 14), (3, 8))
    return normal(draw, d), normal(draw, n, d), draw.randint(1, n)


def read_captions(draw: random.Random) -> Args:
    ids = draw.sample(range(1, 900), draw.randint(3, 7))
    chosen = [draw.choice(ids) for _ in range(draw.randint(4, 12))]
    numbers = draw.sample(range(1000, 9999), len(chosen))
    images = [{"id": each, "file_name": f"{each:012d}.jpg"} for each in ids]
    texts = [
        {"id": number, "image_id": each, "caption": f"a {draw.choice(WORDS)} number {number}"}
        for number, each in zip(numbers, chosen, strict=True)
    ]
    return ({"images": images, "annotations": texts},)


def pad(draw: random.Random) -> Args:
    lists = [
        [draw.randrange(2, 999) for _ in range(draw.randint(1, 9))]
        for _ in range(draw.randint(2, 6))
    ]
    return lists, draw.choice((0, 1, 999))


def normalise(draw: random.Random) -> Args:
    b, h, w = sizes(draw, (1, 4), (2, 5), (2, 5))
    images = (normal(draw, b, 3, h, w).abs() * 100).clamp(max=255).to(torch.uint8)
    colours = [tuple(draw.uniform(0.2, 0.8) for _ in range(3)) for _ in range(2)]
    return images, *colours


def conv2d(draw: random.Random) -> Args:
    b, c, out, h, w, kh, kw = sizes(draw, (1, 3), (1, 3), (1, 4), (4, 7), (4, 7), (1, 3), (1, 3))
    return normal(draw, b, c, h, w), normal(draw, out, c, kh, kw), draw.randint(0, 2)


def basic_block(draw: random.Random) -> Args:
    from mmret_lib.checks.image.blocks import layers

    b, c, h, w = sizes(draw, (1, 4), (1, 5), (3, 6), (3, 6))
    return normal(draw, b, c, h, w), *layers(c, c, 1, draw.randrange(10**6))


def receptive_field(draw: random.Random) -> Args:
    return ([(draw.randint(1, 6), draw.randint(1, 4)) for _ in range(draw.randint(1, 7))],)


def attention(draw: random.Random) -> Args:
    b, lq, lk, d, e = sizes(draw, (1, 4), (1, 5), (2, 6), (2, 5), (2, 5))
    q, k, v = normal(draw, b, lq, d), normal(draw, b, lk, d), normal(draw, b, lk, e)
    return q, k, v, mask(draw, b, lk)


def masked_mean(draw: random.Random) -> Args:
    b, length, d = sizes(draw, (1, 5), (2, 7), (2, 5))
    return normal(draw, b, length, d) + 1, mask(draw, b, length)


def distillation_loss(draw: random.Random) -> Args:
    b, c = sizes(draw, (2, 7), (2, 8))
    return 2 * normal(draw, b, c), 2 * normal(draw, b, c), draw.uniform(0.6, 6)


def word_pieces(draw: random.Random) -> Args:
    word = "".join(draw.choices("abc", k=draw.randint(3, 8)))
    begins = {word[:end] for end in draw.choices(range(1, len(word) + 1), k=2)}
    places = [(draw.randrange(1, len(word)), draw.randint(1, 3)) for _ in range(12)]
    pieces = begins | {f"##{word[start : start + length]}" for start, length in places}
    pieces |= {f"##{letter}" for letter in "abc" if draw.random() < 0.8}
    return word, {
        piece: number for number, piece in enumerate(draw.sample(sorted(pieces), len(pieces)))
    }


def masked_max_triplet(draw: random.Random) -> Args:
    image_emb, text_emb = pairs(draw, 4)
    ids = [torch.tensor(draw.choices(range(100, 107), k=len(image_emb))) for _ in range(2)]
    return image_emb, text_emb, *ids, draw.uniform(0.1, 0.8)


def negative_weights(draw: random.Random) -> Args:
    from mmret_lib.checks.weighting.directions import smooth_direction

    return smooth_direction(draw.uniform(0.1, 0.5)), cosines(draw)


def shares(draw: random.Random) -> Args:
    from mmret_lib.checks.weighting import directions

    softmax = directions.smooth_direction(draw.uniform(0.1, 0.5))
    return draw.choice((softmax, directions.siglip)), cosines(draw)


def log_sum_exp(draw: random.Random) -> Args:
    shape = sizes(draw, *[(2, 5)] * draw.randint(2, 3))
    return 3 * normal(draw, *shape) + draw.uniform(-5, 5), draw.choice((-1, 0, 1))


def standardise(draw: random.Random) -> Args:
    return pairs(draw, 4)[0], draw.uniform(1e-4, 1e-2)


def running_standardiser(draw: random.Random) -> Args:
    d = draw.randint(2, 5)
    parts = [normal(draw, draw.randint(3, 8), d) * 2 + 1 for _ in range(draw.randint(2, 6))]
    return parts, draw.uniform(0.1, 0.9)


def rate(draw: random.Random) -> Args:
    warmup = draw.randint(1, 9)
    milestones = sorted(draw.sample(range(10, 60), draw.randint(1, 3)))
    return draw.randint(0, 70), warmup, milestones, draw.uniform(0.1, 0.9)


def ranks(draw: random.Random) -> Args:
    images, captions = sizes(draw, (3, 7), (7, 12))
    scores = distinct(draw, images, captions)
    return (scores * 8).round() / 8, owners(draw, images, captions)


def recall_at_k(draw: random.Random) -> Args:
    count = draw.randint(3, 9)
    counts = [torch.tensor(draw.choices(range(n), k=count)) for n in (9, 4)]
    return *counts, draw.randint(1, 8)


def median_rank(draw: random.Random) -> Args:
    ranks = [draw.randrange(60) + draw.choice((0, 0.5)) for _ in range(draw.randint(2, 9))]
    return (torch.tensor(ranks, dtype=torch.float64),)


def judged_recall(draw: random.Random) -> Args:
    queries, answers = sizes(draw, (3, 8), (5, 12))
    right = normal(draw, queries, answers) > 0.6
    right[torch.arange(queries), torch.tensor(draw.choices(range(answers), k=queries))] = True
    return distinct(draw, queries, answers), right, draw.randint(1, answers - 1)


def hubness(draw: random.Random) -> Args:
    queries, answers = sizes(draw, (8, 20), (5, 12))
    return distinct(draw, queries, answers), draw.randint(1, 3)


def modality_gap(draw: random.Random) -> Args:
    images, texts, d = sizes(draw, (3, 9), (3, 9), (3, 7))
    return normal(draw, images, d) + 0.5, normal(draw, texts, d) - 0.3


def principal_plane(draw: random.Random) -> Args:
    from mmret_lib.checks.looking.planes import cloud

    n, d = sizes(draw, (7, 14), (3, 6))
    return (cloud(n, d, draw.randrange(10**6)),)


def right_answers(draw: random.Random) -> Args:
    from mmret_lib.checks.looking.scenes import drawn

    pictures, captions = sizes(draw, (5, 15), (8, 25))
    return drawn(pictures, captions, draw.randrange(10**6))


def choose(draw: random.Random) -> Args:
    from mmret_lib.checks.comparing.choices import drawn

    settings, seeds, tests = sizes(draw, (3, 9), (1, 5), (1, 5))
    return drawn(settings, seeds, tests, draw.randrange(10**6))


def cached_gradients(draw: random.Random) -> Args:
    from mmret_lib.checks.large.losses import head, info_nce

    b, d, image_d, text_d = sizes(draw, (4, 11), (2, 4), (2, 6), (2, 6))
    branches = tuple(head(wide, d, seed=draw.randrange(10**6)) for wide in (image_d, text_d))
    return (
        branches,
        info_nce,
        (normal(draw, b, image_d), normal(draw, b, text_d)),
        draw.randint(1, b),
    )


def log_sum_exp_in_tiles(draw: random.Random) -> Args:
    n, m, d = sizes(draw, (2, 9), (2, 9), (2, 5))
    return normal(draw, n, d), normal(draw, m, d), draw.uniform(0.3, 2), draw.randint(1, 6)


def all_gather_loss(draw: random.Random) -> Args:
    from mmret_lib.checks.large.losses import info_nce

    d = draw.randint(2, 5)
    ranks = sizes(draw, *[(2, 5)] * draw.randint(2, 4))
    return [(normal(draw, size, d), normal(draw, size, d)) for size in ranks], info_nce


def cells(draw: random.Random) -> Args:
    n, d, k, steps = sizes(draw, (12, 25), (2, 4), (2, 4), (1, 3))
    return normal(draw, n, d), k, steps, draw.randrange(1000)


def search_cells(draw: random.Random) -> Args:
    n, d, centres = sizes(draw, (12, 30), (2, 4), (3, 6))
    middles, vectors = normal(draw, centres, d), normal(draw, n, d)
    assigned = torch.cdist(vectors, middles).argmin(dim=1)
    return normal(draw, d), vectors, middles, assigned, draw.randint(1, centres), draw.randint(1, 6)


def zero_shot(draw: random.Random) -> Args:
    from mmret_lib.checks.extensions import prompts

    classes, images, d = sizes(draw, (2, 4), (8, 20), (3, 6))
    owner = owners(draw, classes, classes + draw.randint(1, 5)).tolist()
    return prompts(images, owner, d, draw.randrange(10**6))


def of_pairs(*numbers: tuple[float, float], least: int = 2) -> Callable[[random.Random], Args]:
    """Embeddings of pairs, followed by a number of each range."""
    return lambda draw: (*pairs(draw, least), *(draw.uniform(*each) for each in numbers))


WORDS = ("dog", "red bus", "person on skis", "bowl of soup", "train")
CALLS: dict[str, Callable[[random.Random], Args]] = {
    **{
        call.__name__: call
        for call in (
            *(top_k, read_captions, pad, normalise, conv2d, basic_block, receptive_field),
            *(attention, masked_mean, distillation_loss, word_pieces, masked_max_triplet),
            *(negative_weights, shares, log_sum_exp, standardise, running_standardiser, rate),
            *(ranks, recall_at_k, median_rank, judged_recall, hubness, modality_gap),
            *(principal_plane, right_answers, choose, cached_gradients, log_sum_exp_in_tiles),
            *(all_gather_loss, cells, search_cells, zero_shot),
        )
    },
    "recall_at_1": of_pairs(),
    "global_pool": lambda draw: (normal(draw, *sizes(draw, (1, 4), (1, 5), (2, 6), (2, 6))),),
    "cosine_similarity_matrix": of_pairs(),
    **dict.fromkeys(("sum_triplet", "max_triplet", "semi_hard_triplet"), of_pairs((0.1, 0.9))),
    **dict.fromkeys(("simclr", "info_nce"), of_pairs((0.05, 0.6))),
    **dict.fromkeys(
        ("simclr_weights", "temperature_gradient"),
        lambda draw: (cosines(draw), draw.uniform(0.05, 0.6)),
    ),
    **dict.fromkeys(("cross_correlation", "hidden_pairs"), of_pairs(least=4)),
    "barlow_twins": of_pairs((0.005, 0.5), least=4),
    "within_branch": of_pairs((0.1, 0.9)),
    "margin_softmax": of_pairs((0.1, 0.5), (0.05, 0.4)),
    "top_k_triplet": lambda draw: (*pairs(draw), draw.randint(1, 5), draw.uniform(0.1, 0.9)),
    "siglip": of_pairs((2, 12), (-4, 1)),
    "smooth_ap": of_pairs((0.02, 0.5)),
}
