"""Task 2 of exercise 02: the residual block, and the ways to get it wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import mistakes

Layer = Callable[[Tensor], Tensor]


def first_half(x: Tensor, layers: list[Layer]) -> Tensor:
    """Convolution, BatchNorm, ReLU; `layers` are conv1, bn1, conv2, bn2."""
    return layers[1](layers[0](x)).relu()


def second_half(out: Tensor, layers: list[Layer]) -> Tensor:
    """Convolution and BatchNorm, and no ReLU yet."""
    return layers[3](layers[2](out))


def way_round(x: Tensor, inner: Tensor, out: Tensor, shortcut: Layer | None) -> Tensor:
    """What goes past the convolutions: the input, through the shortcut's layers if it has any."""
    return x if shortcut is None else shortcut(x)


def added(out: Tensor, identity: Tensor) -> Tensor:
    """The sum, then the ReLU."""
    return (out + identity).relu()


def basic_block(
    x: Tensor,
    conv1: Layer,
    bn1: Layer,
    conv2: Layer,
    bn2: Layer,
    shortcut: Layer | None = None,
    *,
    first: Callable[[Tensor, list[Layer]], Tensor] = first_half,
    second: Callable[[Tensor, list[Layer]], Tensor] = second_half,
    past: Callable[..., Tensor] = way_round,
    joined: Callable[[Tensor, Tensor], Tensor] = added,
) -> Tensor:
    """The right formula, in steps that a mistake may replace."""
    layers = [conv1, bn1, conv2, bn2]
    inner = first(x, layers)
    out = second(inner, layers)
    return joined(out, past(x, inner, out, shortcut))


def whole(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A mistake in several steps: formula(x, conv1, bn1, conv2, bn2, identity)."""

    def wrong(
        x: Tensor, conv1: Layer, bn1: Layer, conv2: Layer, bn2: Layer, shortcut: Any = None
    ) -> Tensor:
        return formula(x, conv1, bn1, conv2, bn2, x if shortcut is None else shortcut(x))

    return wrong


def fitting(identity: Tensor, out: Tensor) -> Tensor:
    """Return `identity` if it can be added to `out`, else something that no student returns."""
    return identity if identity.shape == out.shape else torch.full_like(out, torch.nan)


def try_layer(layer: Layer, x: Tensor) -> Tensor:
    """Apply a layer, or return NaN where its sizes do not fit."""
    try:
        return layer(x)
    except RuntimeError:
        return torch.full_like(x, torch.nan)


def in_training(layer: Layer) -> Layer:
    """A copy of a layer, switched to training."""
    return copy.deepcopy(layer).train() if isinstance(layer, nn.Module) else layer


def activated(act: Layer) -> dict[str, Callable[..., Tensor]]:
    """Steps with another activation in the place of both ReLUs."""
    return {
        "first": lambda x, la: act(la[1](la[0](x))),
        "joined": lambda out, way: act(out + way),
    }


ACTIVATIONS: dict[str, Layer] = {
    "a leaky ReLU": F.leaky_relu,
    "a GELU": F.gelu,
    "an ELU": F.elu,
    "a SiLU": F.silu,
}
RELU = "F.relu(x), which is max(0, x), is wanted"
ORDER = "conv1, bn1, ReLU, conv2, bn2, then the sum, then the last ReLU"
WRONG_BLOCKS = mistakes(
    {
        "first": f"the order is {ORDER}",
        "second": f"the order is {ORDER}",
        "past": "x itself is added, or shortcut(x) where a shortcut is given",
        "joined": "the two ways are added, and the ReLU stands after the sum",
    },
    joined={
        "the last ReLU is missing": lambda out, way: out + way,
        "the ReLU stands before the sum and not after it": lambda out, way: out.relu() + way,
        "there is a ReLU before the sum, too: the only one after bn2 comes after the sum": (
            lambda out, way: (out.relu() + way).relu()
        ),
        "the shortcut goes through a ReLU before the sum": lambda out, way: (
            out + way.relu()
        ).relu(),
        "each way has its own ReLU, and the sum none": lambda out, way: out.relu() + way.relu(),
        "the shortcut is left out, nothing is added": lambda out, way: out.relu(),
        "the shortcut is subtracted": lambda out, way: (out - way).relu(),
        "the block is subtracted from the shortcut": lambda out, way: (way - out).relu(),
        "the two ways are multiplied": lambda out, way: (out * way).relu(),
        "the mean of the two ways is taken": lambda out, way: ((out + way) / 2).relu(),
        "the larger of the two ways is taken": lambda out, way: torch.maximum(out, way).relu(),
        "the shortcut is added twice": lambda out, way: (out + 2 * way).relu(),
    },
    first={
        "the ReLU between the two convolutions is missing": lambda x, la: la[1](la[0](x)),
        "the first ReLU stands before bn1": lambda x, la: la[1](la[0](x).relu()),
        "bn1 is left out": lambda x, la: la[0](x).relu(),
        "bn1 stands before conv1": lambda x, la: la[0](try_layer(la[1], x)).relu(),
        "x goes through a ReLU before conv1": lambda x, la: first_half(x.relu(), la),
        "bn2 is used in bn1's place": lambda x, la: la[3](la[0](x)).relu(),
    },
    second={
        "bn2 is left out": lambda x, la: la[2](x),
        "bn1 is used twice, and bn2 never": lambda x, la: la[1](la[2](x)),
        "conv1 is used twice, and conv2 never": lambda x, la: la[3](
            fitting(try_layer(la[0], x), la[2](x))
        ),
        "conv1 and bn1 are used twice, conv2 and bn2 never": lambda x, la: la[1](
            fitting(try_layer(la[0], x), la[2](x))
        ),
        "bn2 stands before conv2": lambda x, la: la[2](la[3](x)),
    },
    past={
        "the shortcut is ignored, and x itself is added": lambda x, inner, out, layer: fitting(
            x, out
        ),
        "x was overwritten: what is added is the result of the first half, and not the block's "
        "input, so keep the input under a name of its own": lambda x, inner, out, layer: fitting(
            inner if layer is None else try_layer(layer, inner), out
        ),
        "what is added is the first half's result, and not x": lambda x, inner, out, layer: fitting(
            inner, out
        ),
        "x was overwritten: the block's own result is added to itself, so keep the input under a "
        "name of its own": lambda x, inner, out, layer: out,
        "the shortcut is applied to the block's result: it is for the input x": (
            lambda x, inner, out, layer: x if layer is None else fitting(try_layer(layer, out), out)
        ),
        "nothing is added where no shortcut is given: then x itself is the shortcut": (
            lambda x, inner, out, layer: torch.zeros_like(out) if layer is None else layer(x)
        ),
        "x is added to shortcut(x): where a shortcut is given it replaces x": (
            lambda x, inner, out, layer: x if layer is None else layer(x) + fitting(x, out)
        ),
    },
    several={
        f"the sum stands before bn2: the order is {ORDER}": whole(
            lambda x, c1, b1, c2, b2, way: b2(c2(b1(c1(x)).relu()) + way).relu()
        ),
        f"the sum stands before conv2: the order is {ORDER}": whole(
            lambda x, c1, b1, c2, b2, way: b2(c2(fitting(way, b1(c1(x))) + b1(c1(x)).relu())).relu()
        ),
        f"bn1 and bn2 are swapped: the order is {ORDER}": whole(
            lambda x, c1, b1, c2, b2, way: (b1(c2(b2(c1(x)).relu())) + way).relu()
        ),
        f"both ReLUs are missing: the order is {ORDER}": whole(
            lambda x, c1, b1, c2, b2, way: b2(c2(b1(c1(x)))) + way
        ),
        "BatchNorm and ReLU stand before the convolutions, as in the second ResNet paper: here the "
        f"order is {ORDER}": whole(
            lambda x, c1, b1, c2, b2, way: (
                c2(try_layer(b2, c1(try_layer(b1, x).relu())).relu()) + way
            )
        ),
        "the layers are switched to training: leave train() and eval() to the caller": whole(
            lambda x, c1, b1, c2, b2, way: basic_block(
                x, c1, in_training(b1), c2, in_training(b2), lambda x: way
            )
        ),
        **{
            f"{name} stands in the place of both ReLUs: {RELU}": activated(act)
            for name, act in ACTIVATIONS.items()
        },
        **{
            f"{name} stands in the place of the {which} ReLU: {RELU}": {step: activated(act)[step]}
            for name, act in ACTIVATIONS.items()
            for which, step in (("first", "first"), ("last", "joined"))
        },
        f"both BatchNorms are left out: the order is {ORDER}": whole(
            lambda x, c1, b1, c2, b2, way: (c2(c1(x).relu()) + way).relu()
        ),
    },
)


def maps(*shape: int, seed: int = 0) -> Tensor:
    """Maps of a normal distribution, in float64."""
    generator = seeded(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def filled(layer: nn.Module, seed: int) -> nn.Module:
    """Give a layer numbers of its own, in float64, ready for use (eval)."""
    for place, (name, value) in enumerate(layer.state_dict().items()):
        if value.is_floating_point():
            drawn = maps(*value.shape, seed=seed + 10 * place).to(value.dtype)
            value.copy_(drawn.abs() + 0.3 if name.endswith(("running_var",)) else drawn / 2)
    return layer.double().eval()


def layers(width: int, after: int, stride: int, seed: int, kernel: int = 3) -> list[nn.Module]:
    """conv1, bn1, conv2, bn2 of a block, with numbers of their own."""
    with torch.random.fork_rng(devices=[]):
        made = [
            nn.Conv2d(width, after, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.Conv2d(after, after, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(after),
        ]
    return [filled(layer, seed + 100 * place) for place, layer in enumerate(made)]


def projecting(width: int, after: int, stride: int, seed: int) -> nn.Module:
    """A shortcut with layers of its own, as where a block halves the maps."""
    with torch.random.fork_rng(devices=[]):  # a layer draws its weights, and who imports this
        convolution = nn.Conv2d(width, after, 1, stride=stride, bias=False)  # should not see it
    return filled(nn.Sequential(convolution, nn.BatchNorm2d(after)), seed)


HALVING: tuple[Any, ...] = (maps(2, 3, 6, 6), *layers(3, 5, 2, 1), projecting(3, 5, 2, 7))


def halved(function: Callable[..., Tensor]) -> str | None:
    """Say so if a block fails that halves the maps and has more channels."""
    value, right = function(*copy.deepcopy(HALVING)), basic_block(*HALVING)
    if value.shape == right.shape and torch.allclose(value, right):
        return None
    return "wrong for a block that halves the maps: what is added there is shortcut(x)"


MODES = layers(2, 2, 1, 5)


def modes(function: Callable[..., Tensor]) -> str | None:
    """Say so if the function switches layers between training and use."""
    block = [layer.float().train() for layer in copy.deepcopy(MODES)]
    block[3].eval()
    function(maps(3, 2, 4, 4).float(), *block)
    if [layer.training for layer in block] != [True, True, True, False]:
        return (
            "it calls train() or eval() on the layers: leave that to the caller, who knows "
            "whether the network is being trained"
        )
    return None


TRAINED: tuple[Any, ...] = (*layers(2, 2, 1, 6), projecting(2, 2, 1, 9))


def once(function: Callable[..., Tensor]) -> str | None:
    """Say so if in training the result differs, or a layer has run more or less than once."""
    mine, reference = ([layer.train() for layer in copy.deepcopy(TRAINED)] for _ in range(2))
    x = maps(4, 2, 3, 5)
    value, right = function(x.clone(), *mine), basic_block(x, *reference)
    norms = zip(
        (mine[1], mine[3], mine[4][1]), (reference[1], reference[3], reference[4][1]), strict=True
    )
    if any(int(m.num_batches_tracked) != int(r.num_batches_tracked) for m, r in norms):
        return (
            "a layer runs more or less than once: in training each run of a BatchNorm moves its "
            "running mean, so call every layer once and keep what it returns"
        )
    if not torch.allclose(value, right):
        return (
            "right in use (eval) only, wrong while the network trains: call the layers and do not "
            "rebuild them from their numbers"
        )
    return None
