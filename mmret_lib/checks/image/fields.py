"""Task 4 of exercise 02: the receptive field, and the ways to count it wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from mmret_lib.checks.engine.task import mistakes

Layers = Sequence[tuple[int, int]]


def receptive_field(
    layers: Layers,
    *,
    start: int = 1,
    wider: Callable[[int, int, int, int], int] = lambda field, kernel, stride, step: (
        field + (kernel - 1) * step
    ),
    farther: Callable[[int, int], int] = lambda step, stride: step * stride,
    order: Callable[[Layers], Layers] = list,
    result: Callable[[int, int], Any] = lambda field, step: field,
) -> Any:
    """The right formula, in steps that a mistake may replace.

    `step` is how many pixels of the picture lie between two neighbours of the map reached so far.
    """
    field, step = start, 1
    for kernel, stride in order(layers):
        field = wider(field, kernel, stride, step)
        step = farther(step, stride)
    return result(field, step)


WRONG_FIELDS = mistakes(
    {
        "wider": "a layer widens the field by (kernel - 1) steps, and a step is the product of the "
        "strides before it",
        "farther": "from layer to layer the step is multiplied by the stride",
        "order": "the layer next to the picture stands first",
    },
    wider={
        "the strides are ignored": lambda field, k, s, step: field + k - 1,
        "the whole kernel is added": lambda field, k, s, step: field + k * step,
        "the layer's own stride already counts: it moves the layers after it only": (
            lambda field, k, s, step: field + (k - 1) * step * s
        ),
        "only the layer's own stride counts": lambda field, k, s, step: field + (k - 1) * s,
        "the kernel's half is added": lambda field, k, s, step: field + k // 2 * step,
        "the kernels are multiplied": lambda field, k, s, step: field * k,
        "the field is multiplied by the stride, too": lambda field, k, s, step: (
            (field + (k - 1) * step) * s
        ),
        "every kernel is taken as 3": lambda field, k, s, step: field + 2 * step,
        "the largest layer counts alone: the layers add up": lambda field, k, s, step: max(
            field, 1 + (k - 1) * step
        ),
        "the kernel is squared: one side is wanted, not the area": lambda field, k, s, step: (
            field + (k * k - 1) * step
        ),
    },
    order={
        "the layers are taken in the wrong order: with the step, the first layer stands first; "
        "(field - 1) * stride + kernel goes backwards, from the last layer": (
            lambda layers: list(layers)[::-1]
        ),
        "the first layer is left out": lambda layers: list(layers)[1:],
        "the last layer is left out": lambda layers: list(layers)[:-1],
        "kernel and stride are swapped: a layer is (kernel, stride)": lambda layers: [
            (stride, kernel) for kernel, stride in layers
        ],
    },
    farther={
        "strides are added up": lambda step, stride: step + stride,
        "strides are added up (from stride - 1)": lambda step, stride: step + stride - 1,
        "the last stride replaces those before": lambda step, stride: stride,
        "strides are raised to a power": lambda step, stride: step * stride**2,
    },
    start={
        "the count starts at 0: without any layer a number sees its own pixel, 1": 0,
    },
    result={
        "the step is returned, and not the field": lambda field, step: step,
        "the field's area is returned: its side is wanted": lambda field, step: field**2,
        "the field is counted from its middle to its edge: the whole side is wanted": (
            lambda field, step: field // 2
        ),
        "a float is returned: count in whole numbers, with // in place of / (or int())": (
            lambda field, step: float(field)
        ),
        "one step too many is added at the end": lambda field, step: field + step,
    },
    several={
        "the kernels are added up, and the strides are ignored: each layer widens the field by "
        "(kernel - 1) steps": lambda layers: sum(kernel for kernel, _ in layers),
        "the field is taken as the product of the strides": lambda layers: prod(
            stride for _, stride in layers
        ),
    },
)


def a_number(function: Callable[[Layers], int]) -> str | None:
    """Say so if something else than a Python int is returned."""
    for layers in ([(3, 2), (2, 1)], []):
        value = function(layers)
        if type(value) is not int:
            return f"a {type(value).__name__} is returned: a Python int is wanted, int(...)"
    return None
