"""The checks of exercise 13, one for each of its tasks.

    from mmret_lib import checks
    checks.extensions.check_within_branch(within_branch)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.extras`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.pairs import SIZE, case
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.extras import naming, temperatures, views

__all__ = ["check_learnable_temperature", "check_within_branch", "check_zero_shot"]

# ---------------------------------------------------------------------------------------------
# Task 1: a temperature that is learned

TEMPERATURE_TASK = Task(
    name="learnable_temperature",
    right=lambda start, low, high: None,
    cases=[],
    mistakes=[],
    properties=temperatures.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "Wherever the optimiser moves u, the temperature stays within its range, and an equal step "
        "of u far from both ends changes it by about an equal factor."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: two views of one branch

LOW = "small temperatures overflow in exp: use logsumexp, or F.cross_entropy"
FAR = (
    "take a row's similarity with itself out by -torch.inf: no other number is below all that a "
    "small temperature makes"
)
APART = (
    torch.tensor([[3.0, 0]], dtype=torch.float64, device="cpu"),
    torch.tensor([[-2.0, 0.1]], dtype=torch.float64, device="cpu"),
)
BY_HAND = (
    torch.tensor([[2.0, 0], [0, 1]], dtype=torch.float64, device="cpu"),
    torch.tensor([[3.0, 0], [0, 5]], dtype=torch.float64, device="cpu"),
)
VIEW_TASK = Task(
    name="within_branch",
    right=views.within_branch,
    cases=[
        case((*pairs.batch(5, 3, 0), 0.5)),
        case((*pairs.batch(8, 4, 1), 0.5), "", SIZE),
        case((*pairs.batch(3, 7, 2), 0.2), "", SIZE, "the temperature is fixed in the code"),
        case((*pairs.batch(4, 3, 3), 2.0), "a temperature of 2", "the temperature is fixed"),
        case((*APART, 0.001), "a single pair of opposite views, temperature 0.001", FAR, LOW),
        case((*pairs.batch(6, 3, 4), 0.001), "a temperature of 0.001", LOW),
        case(
            (*BY_HAND, 1.0),
            "emb = [[2, 0], [0, 1]], other_view = [[3, 0], [0, 5]], temperature 1",
            SIZE,
        ),
    ],
    mistakes=views.WRONG_VIEWS,
    gradient_mistakes=views.WRONG_VIEW_GRADIENTS,
    remark=(
        "With 2B - 2 negatives a query it has twice those of a loss between the branches, for the "
        "same embeddings."
    ),
    seconds=120,  # on the device "meta" torch first loads some hundred modules
)

# ---------------------------------------------------------------------------------------------
# Task 3: classes named by prompts


def prompts(images: int, owner: list[int], dim: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of classes, and prompts of very different lengths for each class."""
    generator = seeded(seed)
    classes = torch.tensor(owner, device="cpu")

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")

    middles = draw(max(owner) + 1, dim)
    lengths = draw(len(owner), 1).exp() * 2
    of_images = torch.arange(images, device="cpu") % (max(owner) + 1)
    return (
        (middles[of_images] + draw(images, dim)) * 3,
        (middles[classes] + draw(len(owner), dim)) * lengths,
        classes,
    )


UNSORTED = "the prompts of a class may stand anywhere: go by owner, owner == c"
UNEQUAL = "classes may have different numbers of prompts"
NAME_TASK = Task(
    name="zero_shot",
    right=naming.zero_shot,
    cases=[
        Case(prompts(12, [0, 0, 1, 1, 2, 2], 4, 1), "12 images, three classes of two prompts"),
        Case(prompts(30, [2, 0, 1, 3, 0, 2, 1, 3], 5, 2), "prompts in no order", (UNSORTED, SIZE)),
        Case(prompts(25, [0, 1, 1, 1, 1, 2], 3, 3), "1, 4 and 1 prompts", (UNEQUAL, SIZE)),
        Case(prompts(40, [1, 0, 1, 4, 3, 2, 2, 2, 0, 1], 6, 4), "40 images, five classes", (SIZE,)),
        Case(prompts(60, [0, 1, 0, 1, 0, 1, 1], 2, 5), "60 images, two classes", (SIZE,)),
        Case(prompts(9, [0, 1, 2, 3, 4, 5], 8, 6), "one prompt a class", (SIZE,)),
        Case(
            (
                torch.tensor([[1.0, 0], [1, 3]], dtype=torch.float64, device="cpu"),
                torch.tensor([[1.0, 0], [0, 4], [3, 4]], dtype=torch.float64, device="cpu"),
                torch.tensor([0, 1, 0], device="cpu"),
            ),
            "images [[1, 0], [1, 3]], prompts [[1, 0], [0, 4], [3, 4]] of classes [0, 1, 0]",
            (SIZE,),
        ),
    ],
    mistakes=naming.WRONG_NAMES,
    has_gradient=False,
    half=False,
    remark=(
        "No picture was ever shown with a class: a name, put into a few sentences, is enough to "
        "look for it."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_learnable_temperature(function: Callable[[float, float, float], nn.Module]) -> None:
    """Task 1: function(start, low, high) -> a module that gives the temperature, shape ()."""
    check(TEMPERATURE_TASK, function)


def check_within_branch(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Task 2: function(emb (B, D), other_view (B, D), temperature) -> scalar."""
    check(VIEW_TASK, function)


def check_zero_shot(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Task 3: function(image_emb (N, D), prompt_emb (M, D), owner (M,)) -> classes (N,)."""
    check(NAME_TASK, function)
