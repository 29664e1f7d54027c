"""How many values a bootstrap draws each time, and how often, told from its intervals.

**How many.** Of ten values five are 1 and five are 0. The mean of ten drawn ones is a tenth of a
binomial number, which is at most 1 in 1.1 % of the draws and at most 2 in 5.5 %. So the ends of a
95 % interval are 0.2 and 0.8 exactly; those of nine or of eleven drawn values are ninths and
elevenths. Chance moves an end of 2,000 draws about once in 10**8.

**How often.** An end of many draws hardly moves from call to call: in the levels of the right
distribution, 0.025 and 0.975, its variance is q (1 - q) / draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.checks.pipeline.draws import too_large

TEN = torch.tensor([0.0, 1.0] * 5, dtype=torch.float64, device="cpu")
ENDS = (0.2, 0.8)  # of a 95 % interval of their mean
LEVELS = torch.tensor([0.025, 0.975], dtype=torch.float64)
MOST = 60  # drawn values that are recognised


def draws_another_number(ends: Sequence[float], what: str) -> str | None:
    """Say how many of `TEN` are drawn if not ten, by the ends of the 95 % interval of their mean.

    Args:
        ends: (low, high).
        what: what is drawn, in the plural.
    """
    if all(abs(end - wanted) < 1e-5 for end, wanted in zip(ends, ENDS, strict=True)):
        return None
    for count in range(1, MOST):
        if count != 10 and any(abs(end * count - round(end * count)) < 1e-4 for end in ends):
            return f"of 10 {what} {count} seem to be drawn each time: draw as many as there are"
    return (
        f"each draw takes another number of {what} than there are, or weighs them: draw n out of "
        "n, each of them as likely, and take what is drawn as it is"
    )


def draws_too_few(ends: Tensor, right: Tensor, draws: int) -> int | None:
    """About how many draws were made, if clearly fewer than `draws`; else None.

    Args:
        ends: (calls, 2) of 95 % intervals, from as many calls.
        right: (many,) what one draw gives, in order.
        draws: that should be made.
    """
    levels = torch.searchsorted(right, ends.contiguous()).double() / len(right)
    squares = (levels - levels.mean(dim=0)).square().sum(dim=0)  # (2,)
    moved = float((squares / (LEVELS * (1 - LEVELS) / draws)).sum())
    freedom = 2 * (len(ends) - 1)
    return None if moved < too_large(freedom) else max(round(draws * freedom / moved), 1)
