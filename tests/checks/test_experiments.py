"""What exercise 10 holds answers against is right by other means."""

import pytest
import torch
from torch import Tensor

from mmret_lib.checks.comparing import patterns, ratios, signs


def test_the_counted_p_is_what_paper_says() -> None:
    by_hand = dict(signs.SETS)
    three_and_a_half = next(both for about, both in by_hand.items() if "first = [3" in about)
    assert patterns.right_p(*three_and_a_half) == 4 / 16
    assert patterns.right_p(*by_hand["five seeds, all of them ahead"]) == 2 / 32
    assert patterns.right_p(*by_hand["two trials that are equal"]) == 1
    assert patterns.right_p(*signs.ROUNDED) == 6 / 16


@pytest.mark.parametrize("count", [300])
def test_the_interval_is_that_of_the_delta_method_where_pairs_are_many(count: int) -> None:
    first, second = ratios.generated(count, 3, 0.2, 0.2, 1.0)
    ratio = first.mean() / second.mean()
    error: Tensor = (first - ratio * second).std() / second.mean() / count**0.5
    wanted = torch.stack([ratio - 1.96 * error, ratio + 1.96 * error])
    ends = torch.tensor(ratios.right_interval(first, second)).mean(dim=1).to(wanted)
    assert torch.allclose(ends, wanted, atol=0.1 * float(error))
