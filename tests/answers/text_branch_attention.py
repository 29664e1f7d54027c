"""Answers to exercise 03's first task: attention."""

import math

import torch
import torch.nn.functional as F


def spread(mask, q):
    while mask.ndim < q.ndim:
        mask = mask[:, None]
    return mask


def plain(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    mask = spread(mask, q)
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(q.dtype).min), dim=-1)
    weights = weights * mask
    return weights @ v, weights


def by_where(q, k, v, mask):
    """An even row of -inf is avoided before the softmax."""
    real = spread(mask, q).expand(*q.shape[:-1], k.shape[-2])
    some = real.any(dim=-1, keepdim=True)
    scores = torch.einsum("...id,...jd->...ij", q, k) / math.sqrt(q.size(-1))
    scores = torch.where(real | ~some, scores, -torch.inf)
    weights = F.softmax(scores, dim=-1).where(real, 0)
    return torch.einsum("...ij,...jd->...id", weights, v), weights


def exponentials(q, k, v, mask):
    real = spread(mask, q)
    scores = (q * q.shape[-1] ** -0.5).matmul(k.mT).masked_fill(~real, -torch.inf)
    top = scores.amax(dim=-1, keepdim=True).detach()
    shares = (scores - top.where(top > -torch.inf, 0)).exp()
    weights = shares / shares.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)
    return [weights @ v, weights]


def in_loops(q, k, v, mask):
    if q.ndim > 3:
        heads = [in_loops(q[:, h], k[:, h], v[:, h], mask) for h in range(q.shape[1])]
        return tuple(torch.stack(parts, dim=1) for parts in zip(*heads, strict=True))
    outputs, weights = [], []
    for b in range(len(q)):
        rows = []
        for i in range(q.shape[1]):
            if not mask[b].any():
                rows.append(0 * q[b, i].sum() * k[b].sum() * torch.ones_like(k[b, :, 0]))
                continue
            scores = (k[b] * q[b, i]).sum(dim=1) / q.shape[2] ** 0.5
            found = scores[mask[b]].softmax(dim=0)
            rows.append(torch.zeros_like(scores).masked_scatter(mask[b], found))
        weights.append(torch.stack(rows))
        outputs.append(weights[-1] @ v[b])
    return torch.stack(outputs), torch.stack(weights)


def attend(scale=None, hide=None, soften=None, mix=None, out=None, scores=None):
    """The right answer with one line changed."""

    def function(q, k, v, mask):
        real = spread(mask, q)
        s = scores(q, k) if scores else q @ k.mT
        s = scale(s, q, k, v) if scale else s / q.shape[-1] ** 0.5
        s = hide(s, real) if hide else s.masked_fill(~real, torch.finfo(s.dtype).min)
        w = soften(s, real) if soften else s.softmax(dim=-1).masked_fill(~real, 0)
        o = mix(w, q, k, v) if mix else w @ v
        return out(o, w) if out else (o, w)

    return function


def one_none(q, k, v, mask):
    """Without heads right; with heads the mask of a text goes to a head."""
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask[:, None, :], -1e30)
    weights = scores.softmax(dim=-1).masked_fill(~mask[:, None, :], 0)
    return weights @ v, weights


def transposes_t(q, k, v, mask):
    return attend(scores=lambda q, k: q @ k.transpose(0, 1))(q, k, v, mask)


def scores_in_place(q, k, v, mask):
    q /= q.shape[-1] ** 0.5
    real = spread(mask, q)
    w = (q @ k.mT).masked_fill(~real, -1e30).softmax(dim=-1).masked_fill(~real, 0)
    return w @ v, w


def mask_in_place(q, k, v, mask):
    result = plain(q, k, v, mask)
    mask &= False
    return result


def float_mask(q, k, v, mask):
    """-1e9 times the padding: even shares where nothing is real."""
    scores = q @ k.mT / q.shape[-1] ** 0.5 + (1 - spread(mask, q).to(q.dtype)) * -1e9
    w = scores.softmax(dim=-1)
    return w @ v, w


def only_output(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=spread(mask, q))


def padded_queries(q, k, v, mask):
    o, w = plain(q, k, v, mask)
    if q.shape[-2] == k.shape[-2]:
        rows = spread(mask, q).mT
        return o * rows, w * rows
    return o, w


def softmax_dim_1(q, k, v, mask):
    real = spread(mask, q)
    w = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~real, -1e9).softmax(dim=1)
    w = w.masked_fill(~real, 0)
    return w @ v, w


def causal(q, k, v, mask):
    real = spread(mask, q)
    before = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~(real & before), -1e30)
    w = scores.softmax(dim=-1).masked_fill(~(real & before), 0)
    return w @ v, w


def with_epsilon(q, k, v, mask):
    real = spread(mask, q)
    e = (q @ k.mT / q.shape[-1] ** 0.5).exp() * real
    w = e / (e.sum(dim=-1, keepdim=True) + 1e-8)
    return w @ v, w


def no_assignment(q, k, v, mask):
    while mask.ndim < q.ndim:
        mask[:, None]
    return plain(q, k, v, mask)


def values_masked(q, k, v, mask):
    w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return w @ (v * spread(mask, q).mT), w


def largest_of_all(q, k, v, mask):
    s = q @ k.mT / q.shape[-1] ** 0.5
    e = (s - s.max()).exp() * spread(mask, q)
    w = e / e.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    return w @ v, w


def heads_in_the_batch(q, k, v, mask):
    lead = q.shape[:-2]
    if len(lead) == 2:
        q, k, v, mask = (*(x.flatten(0, 1) for x in (q, k, v)), mask.repeat(lead[1], 1))
    o, w = plain(q, k, v, mask)
    return o.unflatten(0, lead), w.unflatten(0, lead)


def mask_on_the_cpu(q, k, v, mask):
    o, w = plain(q, k, v, mask)
    return o, w * torch.ones(w.shape[-1], dtype=w.dtype)


repaired = attend(  # masked_fill lets no gradient through where it filled
    hide=lambda s, real: s.masked_fill(~real, -math.inf),
    soften=lambda s, real: s.softmax(-1).nan_to_num(),
)
RIGHT_ATTENTION = [plain, by_where, exponentials, in_loops, repaired]
WRONG_ATTENTION = {
    "no scale": ("root of D is missing", attend(scale=lambda s, q, k, v: s)),
    "scale D": ("not by its root", attend(scale=lambda s, q, k, v: s / q.shape[-1])),
    "scale times": ("multiplied by", attend(scale=lambda s, q, k, v: s * q.shape[-1] ** 0.5)),
    "scale keys": ("number of keys", attend(scale=lambda s, q, k, v: s / k.shape[-2] ** 0.5)),
    "scale 1": ("root", attend(scale=lambda s, q, k, v: s / q.size(1) ** 0.5)),
    "scale 8": ("fixed", attend(scale=lambda s, q, k, v: s / 64**0.5)),
    "inverted mask": (
        "turned around",
        attend(
            hide=lambda s, real: s.masked_fill(real, torch.finfo(s.dtype).min),
            soften=lambda s, real: s.softmax(-1).masked_fill(real, 0),
        ),
    ),
    "no mask": (
        "mask is not used",
        attend(hide=lambda s, real: s, soften=lambda s, real: s.softmax(-1)),
    ),
    "mask afterwards": ("after the softmax", attend(hide=lambda s, real: s)),
    "nan": (
        "nan",
        attend(
            hide=lambda s, real: s.masked_fill(~real, -math.inf),
            soften=lambda s, real: s.softmax(-1),
        ),
    ),
    "nan to num": (
        "gradient",
        attend(
            hide=lambda s, real: s + torch.zeros_like(s).masked_fill(~real, -math.inf),
            soften=lambda s, real: s.softmax(-1).nan_to_num(),
        ),
    ),
    "even where empty": ("even shares", float_mask),
    "multiplied mask": (
        "exp(0)",
        attend(hide=lambda s, real: s * real, soften=lambda s, real: s.softmax(-1)),
    ),
    "zero scores": ("exp(0)", attend(hide=lambda s, real: s * real)),
    "softmax over queries": (
        "over the queries",
        attend(soften=lambda s, real: s.softmax(-2) * real),
    ),
    "softmax dim 1": ("dim=1", softmax_dim_1),
    "no softmax": ("softmax", attend(hide=lambda s, real: s * real, soften=lambda s, real: s)),
    "sigmoid": ("sigmoid", attend(soften=lambda s, real: s.sigmoid() * real)),
    "log softmax": (
        "log_softmax",
        attend(
            hide=lambda s, real: s.masked_fill(~real, -1e9),
            soften=lambda s, real: s.log_softmax(-1).masked_fill(~real, 0),
        ),
    ),
    "keys mixed": (
        "applied to the keys",
        attend(mix=lambda w, q, k, v: w @ (k if k.shape == v.shape else v)),
    ),
    "transposed weights": (
        "transposed",
        attend(mix=lambda w, q, k, v: (w.mT if w.shape[-1] == w.shape[-2] else w) @ v),
    ),
    "keys ask": (
        "swapped",
        attend(scores=lambda q, k: k @ q.mT if q.shape[-2] == k.shape[-2] else q @ k.mT),
    ),
    "batch transposed": ("shapes", transposes_t),
    "T of three": ("shapes", attend(scores=lambda q, k: q @ k.T)),
    "swapped results": ("swapped", attend(out=lambda o, w: (w, o))),
    "only output": ("2 results", only_output),
    "scores returned": ("add up to 1", lambda q, k, v, mask: (plain(q, k, v, mask)[0], q @ k.mT)),
    "one none": ("heads", one_none),
    "first mask": ("first text", lambda q, k, v, mask: plain(q, k, v, mask[:1].expand_as(mask))),
    "padded queries": ("keys", padded_queries),
    "causal": ("causal", causal),
    "epsilon": ("large scores", with_epsilon),
    "residual": (
        "shortcut",
        attend(mix=lambda w, q, k, v: w @ v + (q if q.shape == (w @ v).shape else 0)),
    ),
    "cosines": (
        "cosines",
        attend(scores=lambda q, k: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT),
    ),
    "detached weights": ("detached", attend(out=lambda o, w: (o, w.detach()))),
    "detached inside": ("detached", attend(mix=lambda w, q, k, v: w.detach() @ v)),
    "q in place": ("in place", scores_in_place),
    "mask in place": ("in place", mask_in_place),
    "float32": ("dtype", lambda q, k, v, mask: plain(q.float(), k.float(), v.float(), mask)),
    "on the cpu": ("gpu", mask_on_the_cpu),
    "dropout": ("random", attend(mix=lambda w, q, k, v: F.dropout(w, 1e-9) @ v)),
    "huge for half": ("float16", attend(hide=lambda s, real: s.masked_fill(~real, -1e9))),
    "masked by -100": ("below every score", attend(hide=lambda s, r: s.masked_fill(~r, -100.0))),
    "masked by -10,000": ("below every score", attend(hide=lambda s, r: s.masked_fill(~r, -1e4))),
    "endless": ("not ended", no_assignment),
    "values masked": ("for the values", values_masked),
    "largest of all": ("each row's largest", largest_of_all),
    "mask repeated": ("heads", heads_in_the_batch),
    "forgets return": ("return", lambda q, k, v, mask: None),
}
