"""Answers to task 1 of exercise 02, the convolution."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def in_loops_over_places(images, weight, padding):
    b, c, h, w = images.shape
    o, _, kh, kw = weight.shape
    padded = images.new_zeros(b, c, h + 2 * padding, w + 2 * padding)
    padded[:, :, padding : padding + h, padding : padding + w] = images
    rows = []
    for p in range(h + 2 * padding - kh + 1):
        row = []
        for q in range(w + 2 * padding - kw + 1):
            window = padded[:, :, p : p + kh, q : q + kw].reshape(b, -1)
            row.append(window @ weight.reshape(o, -1).T)
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def in_loops_over_the_window(images, weight, padding):
    padded = F.pad(images, [padding] * 4)
    kh, kw = weight.shape[-2:]
    down, across = padded.shape[2] - kh + 1, padded.shape[3] - kw + 1
    out = 0
    for u in range(kh):
        for v in range(kw):
            seen = padded[:, :, u : u + down, v : v + across]
            out = out + torch.einsum("bchw,oc->bohw", seen, weight[:, :, u, v])
    return out


def by_unfold(images, weight, padding):
    b, _, h, _ = images.shape
    o, _, kh, kw = weight.shape
    columns = F.unfold(images, (kh, kw), padding=padding)  # (B, C kh kw, places)
    out = weight.flatten(1) @ columns
    return out.view(b, o, h + 2 * padding - kh + 1, -1)


def by_tensor_unfold(images, weight, padding):
    padded = nn.ZeroPad2d(padding)(images)
    windows = padded.unfold(2, weight.shape[2], 1).unfold(3, weight.shape[3], 1)
    return (windows[:, None] * weight[None, :, :, None, None]).sum(dim=(2, 5, 6))


def by_strides(images, weight, padding):
    padded = F.pad(images, (padding, padding, padding, padding)).contiguous()
    b, c, h, w = padded.shape
    kh, kw = weight.shape[2:]
    sb, sc, sh, sw = padded.stride()
    shape = (b, c, h - kh + 1, w - kw + 1, kh, kw)
    windows = padded.as_strided(shape, (sb, sc, sh, sw, sh, sw))
    return torch.tensordot(windows, weight, dims=([1, 4, 5], [1, 2, 3])).permute(0, 3, 1, 2)


def slid(change=None, after=None, pad=None, start=0):
    """A wrong answer out of the loop over the window, with a slip in one place."""

    def wrong(images, weight, padding):
        padded = (pad or (lambda x, p: F.pad(x, [p] * 4)))(images, padding)
        weight = weight if change is None else change(weight)
        kh, kw = weight.shape[-2:]
        down, across = padded.shape[2] - kh + 1, padded.shape[3] - kw + 1
        out = images.new_zeros(len(images), len(weight), down, across)
        for u in range(start, kh):
            for v in range(start, kw):
                seen = padded[:, :, u : u + down, v : v + across]
                out = out + torch.einsum("bchw,oc->bohw", seen, weight[:, :, u, v])
        return out if after is None else after(out, images, weight)

    return wrong


right = in_loops_over_the_window


def last_round_only(images, weight, padding):
    padded = F.pad(images, [padding] * 4)
    kh, kw = weight.shape[-2:]
    down, across = padded.shape[2] - kh + 1, padded.shape[3] - kw + 1
    out = images.new_zeros(len(images), len(weight), down, across)
    for u in range(kh):
        for v in range(kw):
            seen = padded[:, :, u : u + down, v : v + across]
            out = torch.einsum("bchw,oc->bohw", seen, weight[:, :, u, v])
    return out


def wrapped_around(images, weight, padding):
    rows = (
        images
        if not padding
        else torch.cat([images[:, :, -padding:], images, images[:, :, :padding]], dim=2)
    )
    full = (
        rows if not padding else torch.cat([rows[..., -padding:], rows, rows[..., :padding]], dim=3)
    )
    return right(full, weight, 0)


def channels_averaged(images, weight, padding):
    return right(images, weight, padding) / images.size(1)


def window_averaged(images, weight, padding):
    return right(images, weight, padding) / (weight.size(2) * weight.size(3))


def range_too_short(images, weight, padding):
    padded = F.pad(images, [padding] * 4)
    kh, kw = weight.shape[-2:]
    rows = [
        torch.stack(
            [
                torch.einsum("bcuv,ocuv->bo", padded[:, :, p : p + kh, q : q + kw], weight)
                for q in range(max(1, padded.shape[3] - kw))
            ],
            dim=-1,
        )
        for p in range(max(1, padded.shape[2] - kh))
    ]
    return torch.stack(rows, dim=-2)


def square_window(images, weight, padding):
    padded = F.pad(images, [padding] * 4)
    k = weight.shape[2]
    windows = padded.unfold(2, k, 1).unfold(3, k, 1)
    return torch.einsum("bchwuv,ocuv->bohw", windows, weight)


def fixed_three(images, weight, padding):
    windows = F.pad(images, [padding] * 4).unfold(2, 3, 1).unfold(3, 3, 1)
    return torch.einsum("bchwuv,ocuv->bohw", windows, weight)


def no_sum_over_channels(images, weight, padding):
    windows = F.pad(images, [padding] * 4)
    windows = windows.unfold(2, weight.shape[2], 1).unfold(3, weight.shape[3], 1)
    return torch.einsum("bchwuv,ocuv->bochw", windows, weight)


def first_channel(images, weight, padding):
    return right(images[:, :1], weight[:, :1], padding)


def same_padding(images, weight, padding):
    kh, kw = weight.shape[-2:]
    padded = F.pad(images, ((kw - 1) // 2, kw // 2, (kh - 1) // 2, kh // 2))
    return right(padded, weight, 0)


def padded_after(images, weight, padding):
    return F.pad(right(images, weight, 0), [padding] * 4)


def padding_in_place(images, weight, padding):
    kh, kw = weight.shape[-2:]
    out = torch.zeros(
        len(images),
        len(weight),
        images.shape[2] + 2 * padding - kh + 1,
        images.shape[3] + 2 * padding - kw + 1,
    )
    padded = F.pad(images, [padding] * 4)
    for p in range(out.shape[2]):
        for q in range(out.shape[3]):
            window = padded[:, :, p : p + kh, q : q + kw]
            out[:, :, p, q] = torch.einsum("bcuv,ocuv->bo", window, weight)
    return out


def by_numpy(images, weight, padding):
    result = right(images.detach(), weight.detach(), padding)
    return np.asarray(result)


def detached_weight(images, weight, padding):
    return right(images, weight.detach(), padding)


def changes_the_weight(images, weight, padding):
    with torch.no_grad():
        weight *= 1.0 + 1e-3
    return right(images, weight, padding)


def as_a_layer(images, weight, padding):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], padding=padding)
    layer.weight = nn.Parameter(weight)
    layer.bias = None
    return layer(images)


def by_functional(images, weight, padding):
    return F.conv2d(images, weight, padding=padding)


def by_conv1d(images, weight, padding):
    """Row by row through the one-dimensional convolution."""
    padded = F.pad(images, [padding] * 4)
    kh = weight.shape[2]
    down = padded.shape[2] - kh + 1
    rows = [
        sum(F.conv1d(padded[:, :, p + u], weight[:, :, u]) for u in range(kh)) for p in range(down)
    ]
    return torch.stack(rows, dim=2)


RIGHT_CONVOLUTIONS = [
    in_loops_over_places,
    in_loops_over_the_window,
    by_unfold,
    by_tensor_unfold,
    by_strides,
]
WRONG_CONVOLUTIONS = {
    "flipped": ("180 degrees", slid(lambda w: w.flip(-1, -2))),
    "rotated once": ("rows and columns are swapped", slid(lambda w: w.transpose(2, 3))),
    "upside down": ("upside down", slid(lambda w: torch.flip(w, [2]))),
    "channels averaged": ("mean over the input channels", channels_averaged),
    "window averaged": ("mean over the window", window_averaged),
    "a mean instead of a sum": (
        "mean of all products",
        slid(after=lambda out, x, w: out / w[0].numel()),
    ),
    "no padding": ("padding is ignored", slid(pad=lambda x, p: x)),
    "padding of ones": ("with ones", slid(pad=lambda x, p: F.pad(x, [p] * 4, value=1))),
    "padding by copies": (
        "pixels at its edge",
        slid(pad=lambda x, p: F.pad(x, [p] * 4, mode="replicate")),
    ),
    "padding with almost zero": (
        "epsilon",
        slid(pad=lambda x, p: F.pad(x, [p] * 4, value=1e-9)),
    ),
    "circular padding": ("opposite edge", wrapped_around),
    "last round only": ("out = out + ...", last_round_only),
    "only two numbers to F.pad": (
        "counts from the last dimension",
        slid(pad=lambda x, p: F.pad(x, (p, p))),
    ),
    "padding on two sides": (
        "left and at the top",
        slid(pad=lambda x, p: F.pad(x, (2 * p, 0) * 2)),
    ),
    "pads the channels": ("einsum", slid(pad=lambda x, p: F.pad(x, [p] * 6))),
    "padding always one": ("fixed at 1", slid(pad=lambda x, p: F.pad(x, [1] * 4))),
    "same padding": ("padding", same_padding),
    "pads the result": ("result is padded", padded_after),
    "range too short": ("last row", range_too_short),
    "square window": ("kh", square_window),
    "three is fixed": ("window", fixed_three),
    "no sum over channels": ("shape", no_sum_over_channels),
    "first channel only": ("first input channel", first_channel),
    "window from one": ("first row and the first column", slid(start=1)),
    "stride two": ("two pixels", slid(after=lambda out, x, w: out[:, :, ::2, ::2])),
    "relu": ("ReLU", slid(after=lambda out, x, w: out.relu())),
    "one window for all": ("first output channel", slid(lambda w: w[:1].expand_as(w))),
    "batch added up": (
        "all images are added up",
        slid(after=lambda out, x, w: out.sum(0, keepdim=True).expand_as(out)),
    ),
    "transposed result": ("rows and columns of the result", slid(after=lambda out, x, w: out.mT)),
    "float32 in the code": ("dtype", padding_in_place),
    "numpy": ("numpy", by_numpy),
    "detached weight": ("weight", detached_weight),
    "changes the weight": ("in place", changes_the_weight),
    "a layer": ("detached", as_a_layer),
    "F.conv2d": ("torch's own conv2d", by_functional),
    "F.conv1d": ("torch's own conv1d", by_conv1d),
    "nothing returned": ("nothing is returned", lambda images, weight, padding: None),
}
