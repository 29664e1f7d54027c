"""Answers to tasks 1 to 3 of exercise 06: standardise, the cross-correlation, the loss."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from answers.shared import forgets_return

# Task 1 ------------------------------------------------------------------------------------------


def standard(emb, eps=1e-5):
    return (emb - emb.mean(dim=0)) / (emb.var(dim=0, correction=0) + eps).sqrt()


def standard_in_loops(emb, eps=1e-5):
    columns = []
    for column in emb.unbind(dim=1):
        centred = column - sum(column) / len(column)
        variance = sum(x * x for x in centred) / len(column)
        columns.append(centred / (variance + eps) ** 0.5)
    return torch.stack(columns, dim=1)


def standard_by_var_mean(emb, eps=1e-5):
    variance, mean = torch.var_mean(emb, dim=0, unbiased=False, keepdim=True)
    return (emb - mean) * torch.rsqrt(variance + eps)


def standard_by_module(emb, eps=1e-5):
    layer = nn.BatchNorm1d(emb.shape[1], eps=eps, affine=False, track_running_stats=False)
    return layer(emb)


def by_squares(emb, eps=1e-5):
    mean = emb.mean(dim=0)
    variance = (emb**2).mean(dim=0) - mean**2
    return (emb - mean) / (variance + eps).sqrt()


def in_place(emb, eps=1e-5):
    with torch.no_grad():
        emb -= emb.mean(dim=0)
    return emb / (emb.var(dim=0, correction=0) + eps).sqrt()


def no_grad_statistics(emb, eps=1e-5):
    with torch.no_grad():
        mean, variance = emb.mean(0), emb.var(0, correction=0)
    return (emb - mean) / (variance + eps).sqrt()


def std_detached(emb, eps=1e-5):
    return (emb - emb.mean(0)) / (emb.var(0, correction=0) + eps).sqrt().detach()


def where_zero(emb, eps=1e-5):
    deviation = emb.std(dim=0, correction=0)
    return (emb - emb.mean(dim=0)) / deviation.where(deviation > 0, 1)


def by_numpy(emb, eps=1e-5):
    values = emb.detach().numpy()
    return torch.from_numpy((values - values.mean(0)) / np.sqrt(values.var(0) + eps))


def by_layer_norm(emb, eps=1e-5):
    return F.layer_norm(emb, emb.shape[1:], eps=eps)


RIGHT_STANDARD = [
    standard,
    standard_in_loops,
    standard_by_var_mean,
    standard_by_module,
    lambda e, eps=1e-5: F.batch_norm(e, None, None, training=True, eps=eps),
    lambda e, eps=1e-5: F.layer_norm(e.T, (len(e),), eps=eps).T,
]
WRONG_STANDARD = {
    "torch's default variance": (
        "B - 1",
        lambda e, eps=1e-5: (e - e.mean(0)) / (e.var(0) + eps).sqrt(),
    ),
    "std plus eps": ("eps", lambda e, eps=1e-5: (e - e.mean(0)) / (e.std(0) + eps)),
    "eps outside": (
        "outside of the root",
        lambda e, eps=1e-5: (e - e.mean(0)) / (e.std(0, correction=0) + eps),
    ),
    "layer norm": ("wrong axis", by_layer_norm),
    "rows": (
        "wrong axis",
        lambda e, eps=1e-5: (e - e.mean(1, keepdim=True)) / (e.var(1, keepdim=True) + eps).sqrt(),
    ),
    "whole matrix": (
        "whole matrix",
        lambda e, eps=1e-5: (e - e.mean()) / (e.var(correction=0) + eps).sqrt(),
    ),
    "whole matrix, default variance": (
        "whole matrix",
        lambda e, eps=1e-5: (e - e.mean()) / torch.sqrt(e.var() + eps),
    ),
    "no mean": (
        "mean is not subtracted",
        lambda e, eps=1e-5: e / (e.var(0, correction=0) + eps).sqrt(),
    ),
    "only centred": ("nothing is divided", lambda e, eps=1e-5: e - e.mean(dim=0)),
    "by the variance": (
        "root is missing",
        lambda e, eps=1e-5: (e - e.mean(0)) / (e.var(0, correction=0) + eps),
    ),
    "no eps": ("eps is missing", lambda e, eps=1e-5: (e - e.mean(0)) / e.std(0, correction=0)),
    "zero deviations skipped": ("deviation of 0", where_zero),
    "eps forgotten": (
        "eps is fixed",
        lambda e, eps=1e-5: (e - e.mean(0)) / (e.var(0, correction=0) + 1e-5).sqrt(),
    ),
    "eps 1e-6": (
        "eps is fixed",
        lambda e, eps=1e-5: (e - e.mean(0)) / (e.var(0, correction=0) + 1e-6).sqrt(),
    ),
    "clamped": (
        "lower limit",
        lambda e, eps=1e-5: (e - e.mean(0)) / e.var(0, correction=0).clamp(min=eps).sqrt(),
    ),
    "unit columns": ("variance 1 / B", lambda e, eps=1e-5: F.normalize(e - e.mean(0), dim=0)),
    "unit rows": ("rows are scaled to length 1", lambda e, eps=1e-5: F.normalize(e, dim=1)),
    "unit rows afterwards": (
        "length 1 afterwards",
        lambda e, eps=1e-5: F.normalize(standard(e, eps), dim=1),
    ),
    "squares without the mean": (
        "mean of the squares",
        lambda e, eps=1e-5: (e - e.mean(0)) / (e.square().mean(0) + eps).sqrt(),
    ),
    "difference of squares": ("float32 loses", by_squares),
    "from 0 to 1": (
        "smallest value",
        lambda e, eps=1e-5: (e - e.amin(0)) / (e.var(0, correction=0) + eps).sqrt(),
    ),
    "in place": ("in place", in_place),
    "statistics without gradient": ("detached", no_grad_statistics),
    "deviation detached": ("variance is detached", std_detached),
    "mean detached": (
        "mean is detached",
        lambda e, eps=1e-5: (e - e.mean(0).detach()) / (e.var(0, correction=0) + eps).sqrt(),
    ),
    "numpy": ("detached", by_numpy),
    "float32 out": ("dtype", lambda e, eps=1e-5: standard(e.float(), eps)),
    "transposed": ("(D, B)", lambda e, eps=1e-5: standard(e, eps).T),
    "with the statistics": ("tuple", lambda e, eps=1e-5: (standard(e, eps), e.mean(0), e.var(0))),
    "no return": ("nothing is returned", forgets_return),
    "noise": (
        "random",
        lambda e, eps=1e-5: standard(e, eps) + 0 * torch.randn(1).to(e),
    ),
}


# Task 2 ------------------------------------------------------------------------------------------


def correlate(image_emb, text_emb):
    return standard(image_emb).T @ standard(text_emb) / len(image_emb)


def correlate_in_loops(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    rows = [torch.stack([(i * t).mean() for t in zt.unbind(1)]) for i in za.unbind(1)]
    return torch.stack(rows)


def correlate_from_covariance(image_emb, text_emb):
    a, t = image_emb - image_emb.mean(0), text_emb - text_emb.mean(0)
    covariance = a.T @ t / len(a)
    deviations = (a.square().mean(0) + 1e-5).sqrt()[:, None] * (t.square().mean(0) + 1e-5).sqrt()
    return covariance / deviations


def correlate_pairs_one_by_one(image_emb, text_emb):
    za, zt = standard(image_emb), standard(text_emb)
    total = za.new_zeros(za.shape[1], zt.shape[1])
    for a, t in zip(za, zt, strict=True):
        total = total + torch.outer(a, t)
    return total / len(za)


def corrcoef(image_emb, text_emb):
    dim = image_emb.shape[1]
    return torch.corrcoef(torch.cat([image_emb, text_emb], dim=1).T)[:dim, dim:]


def concatenated_rows(image_emb, text_emb):
    both = standard(torch.cat([image_emb, text_emb]))
    za, zt = both.chunk(2)
    return za.T @ zt / len(image_emb)


def with_default_variance(image_emb, text_emb, divisor=0):
    a, t = ((e - e.mean(0)) / (e.var(0) + 1e-5).sqrt() for e in (image_emb, text_emb))
    return a.T @ t / (len(a) - divisor)


def covariance(image_emb, text_emb):
    a, t = image_emb - image_emb.mean(0), text_emb - text_emb.mean(0)
    return a.T @ t / len(a)


def rows_standard(image_emb, text_emb):
    return standard(image_emb.T) @ standard(text_emb.T).T / len(image_emb)


RIGHT_CORRELATE = [
    correlate,
    correlate_in_loops,
    correlate_from_covariance,
    correlate_pairs_one_by_one,
    lambda i, t: torch.einsum("bi,bj->ij", standard(i), standard(t)) / i.shape[0],
    lambda i, t: (standard(i)[:, :, None] * standard(t)[:, None, :]).mean(dim=0),
]
WRONG_CORRELATE = {
    "transposed": ("transposed", lambda i, t: correlate(t, i)),
    "pairs instead of dimensions": ("(B, B)", lambda i, t: standard(i) @ standard(t).T / len(i)),
    "not standardised": ("not standardised", lambda i, t: i.T @ t / len(i)),
    "images only": ("only the images", lambda i, t: standard(i).T @ t / len(i)),
    "texts only": ("only the texts", lambda i, t: i.T @ standard(t) / len(i)),
    "covariance": ("covariance", covariance),
    "corrcoef": ("eps is left out", corrcoef),
    "default variance": ("B - 1 and the product by B", with_default_variance),
    "B - 1 everywhere": ("B - 1", lambda i, t: with_default_variance(i, t, 1)),
    "by B - 1": ("B - 1", lambda i, t: correlate(i, t) * len(i) / (len(i) - 1)),
    "not divided": ("not divided by B", lambda i, t: standard(i).T @ standard(t)),
    "by D": ("divided by D", lambda i, t: standard(i).T @ standard(t) / i.shape[1]),
    "images twice": ("correlated with images", lambda i, t: correlate(i, i)),
    "texts twice": ("correlated with texts", lambda i, t: correlate(t, t)),
    "cosines of the columns": (
        "without subtracting",
        lambda i, t: F.normalize(i, dim=0).T @ F.normalize(t, dim=0),
    ),
    "cosines of the rows": (
        "rows are scaled",
        lambda i, t: F.normalize(i).T @ F.normalize(t) / len(i),
    ),
    "rows scaled first": (
        "before standardising",
        lambda i, t: correlate(F.normalize(i), F.normalize(t)),
    ),
    "common statistics": ("common mean", concatenated_rows),
    "rows standardised": ("each row", rows_standard),
    "absolute": ("absolute value", lambda i, t: correlate(i, t).abs()),
    "squared": ("squared", lambda i, t: correlate(i, t) ** 2),
    "diagonal only": ("(D,)", lambda i, t: (standard(i) * standard(t)).mean(0)),
    "diagonal matrix": (
        "only the diagonal",
        lambda i, t: torch.diag((standard(i) * standard(t)).mean(0)),
    ),
    "minus one": (
        "belongs to the loss",
        lambda i, t: correlate(i, t) - torch.eye(i.shape[1], dtype=i.dtype),
    ),
    "images detached": ("image_emb", lambda i, t: correlate(i.detach(), t)),
    "deviations detached": (
        "detached",
        lambda i, t: std_detached(i).T @ std_detached(t) / len(i),
    ),
    "batch of 5": ("fixed", lambda i, t: standard(i).T @ standard(t) / 5),
    "in float32": ("dtype", lambda i, t: correlate(i.float(), t.float())),
}


# Task 3 ------------------------------------------------------------------------------------------


def off_diagonal(c):
    return c - torch.diag(c.diagonal())


def loss(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    return (1 - c.diagonal()).square().sum() + lambda_ * off_diagonal(c).square().sum()


def loss_with_weights(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    identity = torch.eye(len(c), dtype=c.dtype, device=c.device)
    weights = identity + lambda_ * (1 - identity)
    return ((c - identity) ** 2 * weights).sum()


def loss_flattened(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    dim = c.shape[0]
    rest = c.flatten()[:-1].view(dim - 1, dim + 1)[:, 1:] if dim > 1 else c[:0]
    return torch.diagonal(c).add(-1).pow(2).sum() + lambda_ * rest.pow(2).sum()


def loss_by_mask(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    mask = torch.eye(len(c), dtype=torch.bool, device=c.device)
    return ((1 - c)[mask] ** 2).sum() + lambda_ * c.masked_fill(mask, 0).pow(2).sum()


def loss_in_loops(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    total = 0 * c.sum()
    for i in range(len(c)):
        for j in range(len(c)):
            total = total + ((1 - c[i, i]) ** 2 if i == j else lambda_ * c[i, j] ** 2)
    return total


def in_terms(agree, repeat):
    def wrong(image_emb, text_emb, lambda_):
        c = correlate(image_emb, text_emb)
        return agree(c.diagonal()) + lambda_ * repeat(c)

    return wrong


def agreement(d):
    return (1 - d).pow(2).sum()


def squares(c):
    return off_diagonal(c).pow(2).sum()


def clamped(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb).clamp(min=0)
    return agreement(c.diagonal()) + lambda_ * squares(c)


def both_weighted(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    return lambda_ * (c - torch.eye(len(c), dtype=c.dtype, device=c.device)).pow(2).sum()


def identity_unweighted(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    return (c - torch.eye(len(c), dtype=c.dtype, device=c.device)).pow(2).sum()


def filled_in_place(image_emb, text_emb, lambda_):
    c = correlate(image_emb, text_emb)
    agree = (1 - c.diagonal()).pow(2).sum()
    c.fill_diagonal_(0)
    return agree + lambda_ * c.pow(2).sum()


def symmetric(image_emb, text_emb, lambda_):
    return loss(image_emb, text_emb, lambda_) + loss(text_emb, image_emb, lambda_)


def number(image_emb, text_emb, lambda_):
    return loss(image_emb, text_emb, lambda_).item()


RIGHT_LOSS = [
    loss,
    loss_with_weights,
    loss_flattened,
    loss_by_mask,
    loss_in_loops,
    filled_in_place,
]
WRONG_LOSS = {
    "upper triangle twice": (
        "not symmetric",
        lambda i, t, lam: (
            agreement(correlate(i, t).diagonal()) + 2 * lam * correlate(i, t).triu(1).square().sum()
        ),
    ),
    "diagonal in both": ("not left out", in_terms(agreement, lambda c: c.pow(2).sum())),
    "lambda on the diagonal": (
        "first term",
        lambda i, t, lam: lam * agreement(correlate(i, t).diagonal()) + squares(correlate(i, t)),
    ),
    "lambda on both": ("both terms", both_weighted),
    "lambda missing": ("lambda_ is missing", identity_unweighted),
    "lambda of the paper": ("0.0051", lambda i, t, lam: loss(i, t, 0.0051)),
    "lambda and the rest": (
        "1 - lambda_",
        lambda i, t, lam: (
            (1 - lam) * agreement(correlate(i, t).diagonal()) + lam * squares(correlate(i, t))
        ),
    ),
    "square of the sum": ("squared", in_terms(agreement, lambda c: off_diagonal(c).sum() ** 2)),
    "not squared": ("not squared", in_terms(lambda d: (1 - d).sum(), squares)),
    "one minus the square": ("-1 satisfies", in_terms(lambda d: (1 - d**2).sum(), squares)),
    "absolute correlations": (
        "absolute values",
        in_terms(agreement, lambda c: off_diagonal(c).abs().sum()),
    ),
    "off-diagonal to 1": (
        "pulled to 1",
        in_terms(agreement, lambda c: (1 - c).pow(2).sum() - (1 - c.diagonal()).pow(2).sum()),
    ),
    "means": (
        "means",
        in_terms(
            lambda d: (1 - d).pow(2).mean(),
            lambda c: off_diagonal(c).pow(2).sum() / max(1, len(c) * (len(c) - 1)),
        ),
    ),
    "mean of the agreement": ("mean", in_terms(lambda d: (1 - d).pow(2).mean(), squares)),
    "per dimension": ("divided by D", lambda i, t, lam: loss(i, t, lam) / i.shape[1]),
    "per pair": ("divided by B", lambda i, t, lam: loss(i, t, lam) / len(i)),
    "upper triangle": (
        "upper triangle",
        in_terms(agreement, lambda c: c.triu(diagonal=1).pow(2).sum()),
    ),
    "root": (
        "root of the sum",
        in_terms(agreement, lambda c: off_diagonal(c).pow(2).sum().sqrt()),
    ),
    "first term alone": ("second term is missing", in_terms(agreement, lambda c: 0 * c.sum())),
    "cut off": ("negative correlations are cut off", clamped),
    "not standardised": (
        "not standardised",
        lambda i, t, lam: (
            agreement((i.T @ t / len(i)).diagonal()) + lam * squares(i.T @ t / len(i))
        ),
    ),
    "default variance": (
        "B - 1",
        lambda i, t, lam: (
            agreement(with_default_variance(i, t).diagonal())
            + lam * squares(with_default_variance(i, t))
        ),
    ),
    "pairs for dimensions": (
        "wrong",
        lambda i, t, lam: (
            agreement((standard(i) @ standard(t).T / len(i)).diagonal())
            + lam * squares(standard(i) @ standard(t).T / len(i))
        ),
    ),
    "not divided by B": (
        "not divided by B",
        lambda i, t, lam: (
            agreement((len(i) * correlate(i, t)).diagonal())
            + lam * squares(len(i) * correlate(i, t))
        ),
    ),
    "both directions": ("2 times", symmetric),
    "a number": ("number", number),
    "texts detached": ("text_emb", lambda i, t, lam: loss(i, t.detach(), lam)),
    "statistics detached": (
        "detached",
        lambda i, t, lam: (
            agreement((no_grad_statistics(i) * no_grad_statistics(t)).mean(0))
            + lam * squares(no_grad_statistics(i).T @ no_grad_statistics(t) / len(i))
        ),
    ),
    "two terms": ("tuple", lambda i, t, lam: (loss(i, t, 0), loss(i, t, lam))),
    "identity in float32": (
        "dtype",
        lambda i, t, lam: (
            ((correlate(i, t) - torch.eye(i.shape[1])) ** 2).float().diagonal().sum()
            + lam * squares(correlate(i, t)).float()
        ),
    ),
}
