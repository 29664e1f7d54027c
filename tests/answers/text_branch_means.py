"""Answers to exercise 03's second task: the mean over the real pieces."""

import torch
import torch.nn.functional as F


def mean_plain(states, mask):
    weights = mask[..., None].to(states.dtype)  # (B, L, 1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def mean_filled(states, mask):
    total = states.masked_fill(~mask.unsqueeze(2), 0).sum(1)
    count = mask.sum(1, keepdim=True)
    return total / torch.where(count == 0, 1, count)


def mean_product(states, mask):
    shares = mask.to(states.dtype)
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1)
    return (shares[:, None] @ states)[:, 0]


def mean_in_a_loop(states, mask):
    rows = [
        s[m].mean(dim=0) if m.any() else (0 * s).sum(dim=0)
        for s, m in zip(states, mask, strict=True)
    ]
    return torch.stack(rows)


def pooled(total=None, count=None, result=None):
    def function(states, mask):
        weights = mask[..., None].to(states.dtype)
        t = total(states, mask, weights) if total else (states * weights).sum(dim=1)
        n = count(states, mask) if count else mask.sum(dim=1, keepdim=True).clamp(min=1)
        return result(t / n, states, mask) if result else t / n

    return function


def by_length(states, mask):
    """Takes the first n states, where a mask has its holes anywhere."""
    rows = [s[: max(int(m.sum()), 1)].mean(0) for s, m in zip(states, mask, strict=True)]
    return torch.stack(rows) * mask.any(1, keepdim=True)


def zeros_left_out(states, mask):
    kept = states * mask[..., None]
    return kept.sum(dim=1) / (kept != 0).sum(dim=1).clamp(min=1) + 0 * states.sum()


def without_zero_rows(states, mask):
    kept = states * mask[..., None]
    return kept.sum(dim=1) / (kept.abs().sum(dim=2) > 0).sum(dim=1, keepdim=True).clamp(min=1)


def inner_only(states, mask):
    inner = mask.clone()
    inner[:, 0] = False
    return mean_plain(states, inner)


def states_in_place(states, mask):
    states[~mask] = 0
    return states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def mask_times_in_place(states, mask):
    states *= mask[..., None]
    return states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


RIGHT_MEANS = [mean_plain, mean_filled, mean_product, mean_in_a_loop]
WRONG_MEANS = {
    "plain mean": ("mask is not used", lambda s, m: s.mean(dim=1)),
    "inverted": ("turned around", lambda s, m: mean_plain(s, ~m)),
    "by L": ("divided by L", pooled(count=lambda s, m: s.shape[1])),
    "fill then mean": ("divided by L", lambda s, m: s.masked_fill(~m[..., None], 0).mean(dim=1)),
    "sum": ("not divided", pooled(count=lambda s, m: 1)),
    "all counted": ("of the batch", pooled(count=lambda s, m: m.sum().clamp(min=1))),
    "nan": (
        "0 is divided by 0",
        pooled(count=lambda s, m: m.sum(1, keepdim=True)),
    ),
    "nan to num": (
        "gradient",
        pooled(count=lambda s, m: m.sum(1, keepdim=True), result=lambda x, s, m: x.nan_to_num()),
    ),
    "plus one": ("one more", pooled(count=lambda s, m: m.sum(1, keepdim=True) + 1)),
    "epsilon": ("nearly right", pooled(count=lambda s, m: m.sum(1, keepdim=True) + 1e-4)),
    "by D": ("divided by d", pooled(count=lambda s, m: s.shape[-1])),
    "by B": ("batch", pooled(count=lambda s, m: s.shape[0])),
    "first": ("first state", lambda s, m: s[:, 0]),
    "last": ("last state", lambda s, m: s[:, -1]),
    "max": ("largest", lambda s, m: s.masked_fill(~m[..., None], -1e4).amax(dim=1)),
    "wrong axis": (
        "shape",
        lambda s, m: (s * m[..., None]).sum(dim=2) / m.sum(1, keepdim=True).clamp(1),
    ),
    "over the batch": ("shape", lambda s, m: (s * m[..., None]).mean(dim=0)),
    "holes": ("anywhere", by_length),
    "zeros": ("even where it is 0", zeros_left_out),
    "rows of zeros": ("even where it is 0", without_zero_rows),
    "inner": ("[cls]", inner_only),
    "numerator unmasked": ("mask is not used", pooled(total=lambda s, m, w: s.sum(dim=1))),
    "count broadcast": ("shapes", pooled(count=lambda s, m: m.sum(dim=1).clamp(min=1))),
    "mask broadcast": ("shapes", lambda s, m: (s * m).sum(1) / m.sum(1, keepdim=True).clamp(1)),
    "empty is padding": (
        "mean of its padding",
        pooled(result=lambda x, s, m: x.where(m.any(1, keepdim=True), s.mean(1))),
    ),
    "filled with one": (
        "replaced by 1",
        lambda s, m: s.masked_fill(~m[..., None], 1).sum(1) / m.sum(1, keepdim=True).clamp(1),
    ),
    "unit": ("length 1", pooled(result=lambda x, s, m: F.normalize(x, dim=1))),
    "detached": ("detached", lambda s, m: mean_plain(s.detach(), m)),
    "half detached": (
        "gradient",
        lambda s, m: mean_plain(s, m) / 2 + mean_plain(s.detach(), m) / 2,
    ),
    "in place": ("in place", states_in_place),
    "times in place": ("in place", mask_times_in_place),
    "float": ("dtype", lambda s, m: mean_plain(s.float(), m)),
    "numpy": ("numpy", lambda s, m: torch.from_numpy(mean_plain(s, m).numpy())),
    "keeps a size": ("shape", lambda s, m: mean_plain(s, m)[:, None]),
    "first mask": ("first text", lambda s, m: mean_plain(s, m[:1].expand_as(m))),
    "median": ("median", lambda s, m: s.median(dim=1).values),
}
