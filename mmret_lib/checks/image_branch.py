"""The checks of exercise 02, one for each of its tasks.

    from mmret_lib import checks
    checks.image_branch.check_conv2d(conv2d)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.image`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.image import blocks, convolution, fields, pools
from mmret_lib.checks.image.blocks import layers, maps, projecting
from mmret_lib.checks.image.convolution import examples

__all__ = ["check_basic_block", "check_conv2d", "check_global_pool", "check_receptive_field"]

# ---------------------------------------------------------------------------------------------
# Task 1: the convolution

SIZES = "a size is fixed in the code: take B, C, H, W and O, kh, kw from the shapes"
SQUARE = "right for square windows only: kh belongs to the rows and kw to the columns"
LARGE = "wrong where the window is larger than the picture: pad first, then slide"
ONE = "wrong for a window of 1 x 1"
BORDER = "wrong at the border: zeros are wanted, `padding` of them on each of the four sides"
PICTURE = torch.arange(9, dtype=torch.float64, device="cpu").reshape(1, 1, 3, 3)
WINDOW = torch.tensor([[[[1.0, 2], [0, -1]]]], dtype=torch.float64, device="cpu")

CONVOLUTION_TASK = Task(
    name="conv2d",
    right=convolution.conv2d,
    cases=[
        Case(examples((2, 3, 5, 6), (4, 3, 3, 3), 2, 0), "3 x 3 windows, padding 2"),
        Case(examples((3, 2, 5, 4), (3, 2, 3, 3), 0, 1), "no padding", (SIZES,)),
        Case(examples((2, 2, 6, 7), (3, 2, 2, 4), 0, 2), "windows of 2 x 4", (SQUARE, SIZES)),
        Case(
            examples((1, 3, 7, 5), (2, 3, 5, 2), 2, 3),
            "windows of 5 x 2, padding 2",
            (SQUARE, BORDER, SIZES),
        ),
        Case(
            examples((2, 2, 4, 4), (2, 2, 3, 3), 1, 4),
            "as many maps out as in, padding 1",
            (SIZES,),
        ),
        Case(examples((2, 3, 3, 4), (2, 3, 1, 1), 0, 5), "windows of 1 x 1", (ONE, SIZES)),
        Case(
            examples((2, 1, 2, 3), (2, 1, 1, 1), 1, 6),
            "windows of 1 x 1, padding 1",
            (ONE, BORDER, SIZES),
        ),
        Case(
            examples((1, 2, 2, 2), (1, 2, 5, 3), 2, 7),
            "windows of 5 x 3 on a picture of 2 x 2, padding 2",
            (LARGE, BORDER, SIZES),
        ),
        Case(
            (PICTURE, WINDOW, 0),
            "the picture [[0, 1, 2], [3, 4, 5], [6, 7, 8]] and the window [[1, 2], [0, -1]]",
            (SIZES,),
        ),
    ],
    mistakes=convolution.WRONG_CONVOLUTIONS,
    properties=[convolution.ready_made],
    remark=(
        "It has O * C * kh * kw weights whatever the picture's size is, and its gradient by the "
        "window is a convolution, too."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: the residual block

PROJECTED = "wrong where a shortcut is given: add shortcut(x) in place of x"
BARE = "wrong where no shortcut is given: add x itself"
NEGATIVE = maps(2, 3, 4, 4)
PAPER = (
    torch.tensor([[1.0, -3.0, 4.0]], dtype=torch.float64, device="cpu"),
    lambda x: 2 * x,
    lambda x: x - 3,
    lambda x: -x,
    lambda x: x + 1,
)

BLOCK_TASK = Task(
    name="basic_block",
    right=blocks.basic_block,
    cases=[
        Case((NEGATIVE, *layers(3, 3, 1, 0)), "3 maps and no shortcut's layers", (BARE,)),
        Case(
            (maps(3, 2, 3, 5), *layers(2, 2, 1, 2), projecting(2, 2, 1, 8)),
            "a shortcut that keeps the shape",
            (PROJECTED,),
        ),
        Case((maps(1, 4, 5, 3).abs(), *layers(4, 4, 1, 3, 1), None), "shortcut=None", (BARE,)),
        Case(
            (20 * maps(2, 3, 4, 4), *layers(3, 3, 1, 4), None),
            "large maps",
            ("the ReLU has no upper bound: F.relu, and not relu6 or a clamp on both sides",),
        ),
        Case(
            PAPER,
            "x = [1, -3, 4], conv1 doubling, bn1 taking 3 away, conv2 changing the sign, bn2 "
            "adding 1",
            (BARE,),
        ),
    ],
    mistakes=blocks.WRONG_BLOCKS,
    properties=[blocks.halved, blocks.modes, blocks.once],
    remark=(
        "If bn2 gives zeros, the block gives back its input (where that is not negative): it can "
        "leave things as they are, which two plain convolutions would have to learn."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: the pooling

ANY_SIZE = "right for some map sizes only: the size comes from the argument, and H need not be W"
SQUEEZED = "squeeze() drops every dimension of size 1, batch and channels too: name the dimensions"
ZEROS_COUNT = "wrong for maps with zeros: they count, too"
WITH_ZEROS = maps(2, 3, 2, 5).relu()

POOL_TASK = Task(
    name="global_pool",
    right=pools.global_pool,
    cases=[
        Case((maps(2, 3, 4, 4),), "maps of 4 x 4"),
        Case((maps(2, 3, 5, 7),), "maps of 5 x 7", (ANY_SIZE,)),
        Case((maps(4, 2, 7, 3),), "maps of 7 x 3", (ANY_SIZE,)),
        Case((maps(3, 3, 3, 3),), "B = C = H = W = 3", (ANY_SIZE,)),
        Case(
            (WITH_ZEROS,),
            "maps with zeros",
            ("wrong for maps with zeros: they count, too", ANY_SIZE),
        ),
        Case((maps(1, 4, 2, 3),), "one image", (SQUEEZED, ANY_SIZE)),
        Case((maps(3, 1, 2, 3),), "one channel", (SQUEEZED, ANY_SIZE)),
        Case((maps(2, 3, 1, 1),), "maps of 1 x 1", (ANY_SIZE,)),
        Case((maps(1, 1, 1, 6),), "one image, one channel, one row", (SQUEEZED, ANY_SIZE)),
        Case(
            (torch.tensor([[[[1.0, 2], [0, 6]]]], dtype=torch.float64, device="cpu"),),
            "one map [[1, 2], [0, 6]]",
            (ANY_SIZE,),
        ),
    ],
    mistakes=pools.WRONG_POOLS,
    remark=(
        "One network now takes pictures of every size. The order of the places is gone: of where "
        "things were there is left only what the numbers at each place hold themselves."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: the receptive field

FIELD_TASK = Task(
    name="receptive_field",
    right=fields.receptive_field,
    cases=[
        Case(([(3, 1), (3, 1)],), "[(3, 1), (3, 1)]"),
        Case(([(3, 2), (3, 1)],), "[(3, 2), (3, 1)]"),
        Case(([(3, 1), (3, 2)],), "[(3, 1), (3, 2)]"),
        Case(
            ([(7, 2), (3, 2), (3, 1), (3, 1), (3, 2)],), "[(7, 2), (3, 2), (3, 1), (3, 1), (3, 2)]"
        ),
        Case(([(5, 3), (2, 2), (4, 1)],), "[(5, 3), (2, 2), (4, 1)]"),
        Case(([(1, 4), (1, 1), (2, 3), (3, 2)],), "[(1, 4), (1, 1), (2, 3), (3, 2)]"),
        Case(([(3, 1)] * 31,), "31 layers (3, 1)"),
        Case(([(1, 1)],), "[(1, 1)], which sees one pixel"),
        Case(
            ([(3, 2)] * 6,),
            "six layers (3, 2), which see 127 pixels",
            ("nothing bounds the field: it may be wider than the picture",),
        ),
        Case(([],), "[], no layer at all", ("without any layer a number sees its own pixel, 1",)),
        Case(([(3, 2), (2, 1)],), "[(3, 2), (2, 1)], which sees 5 pixels"),
    ],
    mistakes=fields.WRONG_FIELDS,
    properties=[fields.a_number],
    has_gradient=False,
    half=False,
    remark=(
        "31 layers of 3 see 63 pixels; the first five of a ResNet, with their strides, see 35. "
        "Strides multiply, kernels only add up."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_conv2d(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Task 1: function(images (B, C, H, W), weight (O, C, kh, kw), padding) -> (B, O, …, …)."""
    check(CONVOLUTION_TASK, function)


def check_basic_block(function: Callable[..., Tensor]) -> None:
    """Task 2: function(x (B, C, H, W), conv1, bn1, conv2, bn2, shortcut=None) -> maps."""
    check(BLOCK_TASK, function)


def check_global_pool(function: Callable[[Tensor], Tensor]) -> None:
    """Task 3: function(maps (B, C, H, W)) -> (B, C)."""
    check(POOL_TASK, function)


def check_receptive_field(function: Callable[[Any], int]) -> None:
    """Task 4: function(layers, a list of (kernel, stride)) -> int."""
    check(FIELD_TASK, function)
