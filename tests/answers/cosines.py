"""Answers to task 1, the matrix of cosines."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from answers.shared import cos, forgets_return, unit


def cosines_in_loops(image_emb, text_emb):
    rows = [
        torch.stack([F.cosine_similarity(i, t, dim=0) for t in text_emb.unbind()])
        for i in image_emb.unbind()
    ]
    return torch.stack(rows)


def cosines_by_einsum(image_emb, text_emb):
    return torch.einsum("id,td->it", unit(image_emb), unit(text_emb))


def cosines_divided_afterwards(image_emb, text_emb):
    lengths = image_emb.norm(dim=1)[:, None] * text_emb.norm(dim=1)[None, :]
    return image_emb @ text_emb.T / lengths.clamp(min=1e-8)


def cosines_with_small_epsilon(image_emb, text_emb):
    images = image_emb / (image_emb.norm(dim=-1, keepdim=True) + 1e-8)
    return images @ (text_emb / (text_emb.norm(dim=-1, keepdim=True) + 1e-8)).t()


def cosines_noisily(image_emb, text_emb):
    import sys
    import warnings

    print("shape", image_emb.shape)
    print("shape", text_emb.shape, file=sys.stderr)
    warnings.warn("a warning on stderr would cost the points", stacklevel=1)
    return cos(image_emb, text_emb)


def cosines_in_place(image_emb, text_emb):
    with torch.no_grad():
        image_emb /= image_emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
        text_emb /= text_emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return image_emb @ text_emb.T


def cosines_by_numpy(image_emb, text_emb):
    return torch.from_numpy(np.asarray(cos(image_emb, text_emb).detach()))


def cosines_filled_in(image_emb, text_emb):
    s = torch.zeros(len(image_emb), len(text_emb))
    for b, i in enumerate(unit(image_emb)):
        for k, t in enumerate(unit(text_emb)):
            s[b, k] = i @ t
    return s


def cosines_root_of_squares(image_emb, text_emb):
    def scaled(emb):
        return emb / emb.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-8)

    return scaled(image_emb) @ scaled(text_emb).T


def cosines_detached_norm(image_emb, text_emb):
    with torch.no_grad():
        image_norm = image_emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
        text_norm = text_emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (image_emb / image_norm) @ (text_emb / text_norm).T


def cosines_viewed(image_emb, text_emb):
    flat = image_emb.view(-1)
    return cos(flat.view(image_emb.shape), text_emb)


def with_norm(norm: Callable) -> Callable:
    return lambda i, t: norm(i) @ norm(t).T


def with_epsilon(eps: float) -> Callable:
    return with_norm(lambda emb: emb / (emb.norm(dim=1, keepdim=True) + eps))


def random_rounding(image_emb, text_emb):
    return cos(image_emb + 0 * torch.rand_like(image_emb), text_emb)


def seeded(image_emb, text_emb):
    torch.manual_seed(0)
    return cos(image_emb, text_emb)


RIGHT_COSINES = [
    cos,
    cosines_in_loops,
    cosines_by_einsum,
    cosines_divided_afterwards,
    cosines_with_small_epsilon,
    cosines_noisily,
    lambda i, t: F.cosine_similarity(i[:, None, :], t[None, :, :], dim=2),
    lambda i, t: (unit(i)[:, None] * unit(t)).sum(-1),
    lambda i, t: F.linear(unit(i), unit(t)).clamp(-1, 1),
    lambda i, t: torch.tensordot(unit(i), unit(t), dims=([1], [1])),
]
WRONG_COSINES = {
    "dot product": ("not normalised", lambda i, t: i @ t.T),
    "over the columns": ("wrong axis", with_norm(lambda e: F.normalize(e, dim=0))),
    "default axis of a 1-d norm": (
        "one norm of the whole matrix",
        with_norm(lambda e: e / e.norm()),
    ),
    "images only": ("only the image rows", lambda i, t: unit(i) @ t.T),
    "texts only": ("only the text rows", lambda i, t: i @ unit(t).T),
    "squared length": (
        "square root is missing",
        with_norm(lambda e: e / e.square().sum(1, keepdim=True).clamp(min=1e-12)),
    ),
    "sum of absolute values": ("absolute values", with_norm(lambda e: F.normalize(e, p=1, dim=1))),
    "standardised": (
        "standardised",
        with_norm(lambda e: (e - e.mean(1, keepdim=True)) / e.std(1, keepdim=True)),
    ),
    "softmax": ("softmax", with_norm(lambda e: e.softmax(dim=1))),
    "softmax of the result": ("softmax", lambda i, t: cos(i, t).softmax(dim=1)),
    "NaN at zeros": ("row of zeros", with_norm(lambda e: e / e.norm(dim=1, keepdim=True))),
    "large epsilon": ("epsilon", with_epsilon(1e-3)),
    "epsilon 1e-6": ("epsilon", with_epsilon(1e-6)),
    "least length 0.1": ("clamp, eps", with_norm(lambda e: F.normalize(e, dim=1, eps=0.1))),
    "odd epsilon": ("epsilon", with_epsilon(3e-6)),
    "transposed": ("transposed", lambda i, t: cos(t, i)),
    "images with images": ("images are compared with images", lambda i, t: cos(i, i)),
    "texts with texts": ("texts are compared with texts", lambda i, t: cos(t, t)),
    "distance": ("distance", lambda i, t: 1 - cos(i, t)),
    "Euclidean": ("euclidean", lambda i, t: -torch.cdist(unit(i), unit(t))),
    "centred": ("batch mean", lambda i, t: cos(i - i.mean(0), t - t.mean(0))),
    "absolute": ("absolute value hides", lambda i, t: cos(i, t).abs()),
    "cut off": ("cut off", lambda i, t: cos(i, t).relu()),
    "zero to one": ("(1 + cosine) / 2", lambda i, t: (cos(i, t) + 1) / 2),
    "two mistakes": ("two things", lambda i, t: 1 - i @ unit(t).T),
    "pairs only": ("only one number per pair", lambda i, t: F.cosine_similarity(i, t)),
    "dimensions": ("(D, D)", lambda i, t: unit(i).T @ unit(t)),
    "not transposed": ("transposed", lambda i, t: unit(i) @ unit(t)),
    "mean of it": ("shape ()", lambda i, t: cos(i, t).mean()),
    "scaled": ("100 times", lambda i, t: 100 * cos(i, t)),
    "rounded": ("rounded", lambda i, t: cos(i, t).round(decimals=2)),
    "no return": ("nothing is returned", forgets_return),
    "numpy": ("numpy", lambda i, t: cos(i, t).numpy()),
    "a list": ("list", lambda i, t: list(cos(i, t))),
    "numpy and back": ("detached", cosines_by_numpy),
    "detached": ("detached", lambda i, t: cos(i, t).detach()),
    "detached texts": ("text_emb", lambda i, t: cos(i, t.detach())),
    "detached norms": ("lengths are detached", cosines_detached_norm),
    "root of zero": ("root of 0", cosines_root_of_squares),
    "NaN replaced": (
        "too late",
        with_norm(lambda e: (e / e.norm(dim=1, keepdim=True)).nan_to_num()),
    ),
    "in place": ("in place", cosines_in_place),
    "float64 out": ("dtype", lambda i, t: cos(i.double(), t.double())),
    "float32 out": ("dtype", lambda i, t: cos(i.float(), t.float())),
    "float64 inside": ("dtype", lambda i, t: cos(i, t) @ torch.eye(len(i), dtype=torch.float64)),
    "filled in float32": ("dtype", cosines_filled_in),
    "half inside": ("float", lambda i, t: cos(i.half(), t.half()).to(i.dtype)),
    "on the GPU by name": ("device", lambda i, t: cos(i.cuda(), t.cuda())),
    "made on the CPU": (
        "gpu",
        lambda i, t: cos(i, t) * (1 + torch.zeros(len(i), 1, dtype=i.dtype)),
    ),
    "moved to the CPU": ("gpu", lambda i, t: cos(i.cpu(), t.cpu())),
    "view": ("reshape", cosines_viewed),
    "random": ("random", random_rounding),
    "seeded": ("seed", seeded),
    "batch of 5": ("size is fixed", lambda i, t: cos(i, t).reshape(5, 5)),
    "first 5 only": ("(5, 5)", lambda i, t: cos(i[:5], t[:5])),
    "width 3": ("fixed", lambda i, t: cos(i[:, :3], t[:, :3])),
}
