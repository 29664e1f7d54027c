"""The numbers on which a check tries a function: fixed ones, or others for each student."""

from __future__ import annotations

import torch

shift = 0  # of all seeds; `mmret grade` sets it before it imports the checks of an exercise


def seeded(seed: int) -> torch.Generator:
    """Return a generator on the CPU that is seeded with `seed`, moved on by `shift`.

    In a notebook the numbers of a check are always the same, so that its messages are. While
    submissions are graded, `shift` gives the same cases with a student's own numbers.
    """
    return torch.Generator("cpu").manual_seed(seed + shift)
