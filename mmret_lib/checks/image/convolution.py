"""Task 1 of exercise 02: the convolution, and the ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import mistakes


def zeros_around(images: Tensor, padding: int) -> Tensor:
    """Put `padding` zeros on all four sides: (B, C, H, W) -> (B, C, H + 2p, W + 2p)."""
    return F.pad(images, (padding,) * 4)


def all_places(padded: Tensor, height: int, width: int) -> Tensor:
    """Cut out what the window sees at each place: (B, C, places down, places across, kh, kw)."""
    return padded.unfold(2, height, 1).unfold(3, width, 1)


def as_it_is(weight: Tensor) -> Tensor:
    """Return the window as it is given."""
    return weight


def summed(windows: Tensor, weight: Tensor) -> Tensor:
    """Multiply entry by entry, and add up over channels and window: (B, O, down, across)."""
    return torch.einsum("bcpquv,ocuv->bopq", windows, weight)


def conv2d(
    images: Tensor,
    weight: Tensor,
    padding: int,
    *,
    padded: Callable[[Tensor, int], Tensor] = zeros_around,
    kernel: Callable[[Tensor], Tensor] = as_it_is,
    places: Callable[[Tensor, int, int], Tensor] = all_places,
    combined: Callable[[Tensor, Tensor], Tensor] = summed,
) -> Tensor:
    """The right formula, in steps that a mistake may replace."""
    weight = kernel(weight)
    return combined(places(padded(images, padding), *weight.shape[2:]), weight)


def bordered(mode: str) -> Callable[[Tensor, int], Tensor]:
    """Pad with something else than zeros, where torch can."""

    def pad(images: Tensor, padding: int) -> Tensor:
        if mode == "reflect" and padding >= min(images.shape[2:]):
            return zeros_around(images, padding)
        return F.pad(images, (padding,) * 4, mode=mode)

    return pad


def two_sides(left: int, right: int, top: int, bottom: int) -> Callable[[Tensor, int], Tensor]:
    """Pad each side with a multiple of the padding."""
    return lambda images, p: F.pad(images, (left * p, right * p, top * p, bottom * p))


def one_place_less(padded: Tensor, height: int, width: int) -> Tensor:
    """Leave out the last place in both directions."""
    return all_places(padded, height, width)[:, :, :-1, :-1]


def last_place(weight: Tensor) -> Tensor:
    """Keep the window's last row and column alone, in their place."""
    kh, kw = weight.shape[2:]
    return F.pad(weight[:, :, -1:, -1:], (kw - 1, 0, kh - 1, 0))


def swapped_if_it_fits(weight: Tensor) -> Tensor:
    """Read the weights as (C, O, kh, kw) where both readings are possible."""
    return weight.transpose(0, 1) if weight.shape[0] == weight.shape[1] else weight


def one_window_for_all(windows: Tensor, weight: Tensor) -> Tensor:
    """Sum over the output channels, too, in every map."""
    return summed(windows, weight.sum(dim=0, keepdim=True).expand(len(weight), -1, -1, -1))


def own_channel(windows: Tensor, weight: Tensor) -> Tensor:
    """Use one input channel for each output channel, the first again where there are no more."""
    chosen = [c % windows.shape[1] for c in range(len(weight))]
    each = [(windows[:, c] * weight[o, c]).sum(dim=(-2, -1)) for o, c in enumerate(chosen)]
    return torch.stack(each, dim=1)


def per_image(windows: Tensor, weight: Tensor) -> Tensor:
    """Give every image the result of the first."""
    return summed(windows[:1].expand(windows.shape), weight)


def result_padded(images: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Slide first and pad then."""
    return zeros_around(conv2d(images, weight, 0), padding)


def area(weight: Tensor) -> int:
    """The number of places in a window."""
    return weight.shape[2] * weight.shape[3]


ZEROS = "zeros are wanted, `padding` of them on each of the four sides"
STRIDE = "the window moves by one pixel: there are H + 2 padding - kh + 1 places down"

WRONG_CONVOLUTIONS = mistakes(
    {
        "padded": ZEROS,
        "kernel": "window and picture are read in the same direction (a cross-correlation)",
        "places": STRIDE,
        "combined": "at each place the products are summed over all input channels and the window",
    },
    kernel={
        "the window is turned by 180 degrees, as mathematicians do": lambda w: w.flip(2, 3),
        "the window is read upside down": lambda w: w.flip(2),
        "the window is read from right to left": lambda w: w.flip(3),
        "the window's rows and columns are swapped: weight is (O, C, kh, kw), so dim 2 goes with "
        "the rows and dim 3 with the columns": lambda w: w.mT,
        "the weight's first two dimensions are swapped: it is (O, C, kh, kw), output channels "
        "first": swapped_if_it_fits,
        "the first row and the first column of the window are left out: ranges start at 0": (
            lambda w: F.pad(w[:, :, 1:, 1:], (1, 0, 1, 0))
        ),
        "only the last place of the window counts, as when each round of a loop replaces the one "
        "before it (out = ...): add up, out = out + ...": last_place,
        "the window's size is taken as a square of kh: take kw from weight.shape[3]": (
            lambda w: F.pad(w, (0, max(0, w.shape[2] - w.shape[3])))[..., : w.shape[2]]
        ),
    },
    padded={
        "the padding is ignored": lambda x, p: x,
        "the picture is padded with ones": lambda x, p: F.pad(x, (p,) * 4, value=1.0),
        "the picture is padded with the pixels at its edge": bordered("replicate"),
        "the picture is padded with its mirror image": bordered("reflect"),
        "the picture is padded with its opposite edge (circular padding)": bordered("circular"),
        "the picture is padded with its mean": lambda x, p: F.pad(x, (p,) * 4, value=x.mean()),
        "the padding stands on the left and at the top only": two_sides(2, 0, 2, 0),
        "the padding stands on the right and at the bottom only": two_sides(0, 2, 0, 2),
        "the padding stands on one side only, left and top, once": two_sides(1, 0, 1, 0),
        "the padding stands on one side only, right and bottom, once": two_sides(0, 1, 0, 1),
        "only the columns are padded, F.pad(x, (p, p)): F.pad counts from the last dimension, so "
        "it wants (left, right, top, bottom)": two_sides(1, 1, 0, 0),
        "only the rows are padded": two_sides(0, 0, 1, 1),
        "each side gets twice the padding": two_sides(2, 2, 2, 2),
        "the padding is fixed at 1: take the argument": lambda x, p: zeros_around(x, 1),
    },
    places={
        "the last row and the last column of places are missing (a range that ends one too "
        "early)": one_place_less,
        "the window moves by two pixels": lambda x, h, w: all_places(x, h, w)[:, :, ::2, ::2],
        "the window moves by its own size, as in pooling": (
            lambda x, h, w: x.unfold(2, h, h).unfold(3, w, w)
        ),
        "rows and columns of the result are swapped: `images` is (B, C, H, W)": (
            lambda x, h, w: all_places(x, h, w).transpose(2, 3)
        ),
    },
    combined={
        "the mean over the input channels is taken": lambda x, w: summed(x, w) / w.shape[1],
        "the mean over the window is taken": lambda x, w: summed(x, w) / area(w),
        "the mean of all products is taken": lambda x, w: summed(x, w) / w[0].numel(),
        "only the first input channel counts": lambda x, w: summed(x[:, :1], w[:, :1]),
        "only the last input channel counts": lambda x, w: summed(x[:, -1:], w[:, -1:]),
        "each output channel looks at one input channel": own_channel,
        "the window of the first output channel is used for all of them": (
            lambda x, w: summed(x, w[:1].expand(w.shape))
        ),
        "the windows of all output channels are added up": one_window_for_all,
        "the input channels are added up before the window is applied, and the windows too: each "
        "channel has its own window": lambda x, w: summed(x.sum(1, True), w.sum(1, True)),
        "every image gets the result of the first: the batch is dim 0": per_image,
        "the results of all images are added up: each image keeps its own": (
            lambda x, w: summed(x, w).sum(dim=0, keepdim=True).expand(len(x), -1, -1, -1)
        ),
        "the largest product is taken": lambda x, w: (x[:, None] * w[:, :, None, None]).amax(
            dim=(2, -2, -1)
        ),
        "a ReLU stands at the end: a convolution has none": lambda x, w: summed(x, w).relu(),
        "the absolute value is taken: a convolution can be negative": (
            lambda x, w: summed(x, w).abs()
        ),
        "the sign is wrong": lambda x, w: -summed(x, w),
    },
    several={f"the result is padded, and not the picture: {ZEROS}": result_padded},
)


def examples(
    images: tuple[int, ...], weight: tuple[int, ...], padding: int, seed: int
) -> tuple[Any, ...]:
    """Make the arguments of one call."""
    generator = seeded(seed)
    drawn = [
        torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
        for shape in (images, weight)
    ]
    return *drawn, padding


class Listening(TorchFunctionMode):
    """Note which of torch's functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the name, and call."""
        self.called.append(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


def ready_made(function: Callable[..., Tensor]) -> str | None:
    """Say which ready-made convolution of torch the function calls, if it does."""
    with Listening() as listening:
        function(*examples((1, 2, 4, 5), (3, 2, 3, 2), 1, 9))
    for name in listening.called:
        if "conv" in name:
            return (
                f"it calls torch's own {name}, which is what you are to build: cut the windows "
                "out yourself (a loop over kh and kw, unfold or F.unfold), multiply and add up"
            )
    return None
