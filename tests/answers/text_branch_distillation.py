"""Answers to exercise 03's third task: the loss of distillation."""

import math

import torch
import torch.nn.functional as F


def kl_plain(student, teacher, t):
    log_p = F.log_softmax(teacher.detach() / t, dim=-1)
    log_q = F.log_softmax(student / t, dim=-1)
    return t**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()


def kl_torch(student, teacher, t):
    p = F.log_softmax(teacher.detach() / t, dim=1)
    q = F.log_softmax(student / t, dim=1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True) * t * t


def kl_no_grad(student, teacher, t):
    with torch.no_grad():
        p = (teacher / t).softmax(dim=1)
    q = (student / t).log_softmax(dim=1)
    return t**2 * F.kl_div(q, p, reduction="sum") / len(student)


def kl_entropies(student, teacher, t):
    """Cross-entropy minus the teacher's entropy."""
    p = (teacher.detach() / t).softmax(1)
    entropy = -torch.special.xlogy(p, p).sum(1)
    return ((F.cross_entropy(student / t, p, reduction="none") - entropy) * t**2).mean()


def distilled(student_of=None, teacher_of=None, cost=None, mean=None, factor=None):
    def function(student, teacher, t):
        zs = student_of(student, t) if student_of else student / t
        zt = teacher_of(teacher.detach(), t) if teacher_of else teacher.detach() / t
        p, q = zt.log_softmax(1), zs.log_softmax(1)
        each = cost(p, q) if cost else (p.exp() * (p - q)).sum(1)
        return (mean(each, student) if mean else each.mean()) * (factor(t) if factor else t**2)

    return function


def softmax_log(student, teacher, t):
    p, q = (teacher.detach() / t).softmax(1), (student / t).softmax(1)
    return t**2 * (p * (p / q).log()).sum(1).mean()


def softmax_log_epsilon(student, teacher, t):
    p, q = (teacher.detach() / t).softmax(1), (student / t).softmax(1)
    return t**2 * (p * ((p + 1e-8) / (q + 1e-8)).log()).sum(1).mean()


def own_softmax(student, teacher, t):
    p, q = (teacher.detach() / t).exp(), (student / t).exp()
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    return t**2 * (p * (p.log() - q.log())).sum(1).mean()


def jensen_shannon(student, teacher, t):
    p, q = (teacher.detach() / t).softmax(1), (student / t).softmax(1)
    m = ((p + q) / 2).log()
    each = torch.special.xlogy(p, p) + torch.special.xlogy(q, q) - (p + q) * m.clamp(min=-1e9)
    return t**2 * each.sum(1).mean() / 2


def kl_in_place(student, teacher, t):
    student /= t
    return kl_plain(student, teacher / t, 1) * t**2


RIGHT_DISTILLATION = [kl_plain, kl_torch, kl_no_grad, kl_entropies]
WRONG_DISTILLATION = {
    "gradient to the teacher": (
        "reaches the teacher",
        lambda s, z, t: (
            t**2 * F.kl_div((s / t).log_softmax(1), (z / t).softmax(1), reduction="batchmean")
        ),
    ),
    "swapped": ("swapped", lambda s, z, t: kl_plain(z, s, t)),
    "swapped in kl_div": (
        "swapped",
        lambda s, z, t: (
            t**2 * F.kl_div((z / t).log_softmax(1), (s / t).softmax(1), reduction="batchmean")
        ),
    ),
    "mean over all": (
        'reduction="mean"',
        lambda s, z, t: t**2 * F.kl_div((s / t).log_softmax(1), (z / t).softmax(1)),
    ),
    "no log": (
        "without a logarithm",
        lambda s, z, t: (
            t**2 * F.kl_div((s / t).softmax(1), (z / t).softmax(1), reduction="batchmean")
        ),
    ),
    "log target": (
        "log_target",
        lambda s, z, t: (
            t**2 * F.kl_div((s / t).log_softmax(1), (z / t).log_softmax(1), reduction="batchmean")
        ),
    ),
    "summed": ("summed over the batch", distilled(mean=lambda kl, z: kl.sum())),
    "no factor": ("squared is missing", distilled(factor=lambda t: 1)),
    "factor t": ("not by t squared", distilled(factor=lambda t: t)),
    "factor t cubed": ("third power", distilled(factor=lambda t: t**3)),
    "jensen-shannon": ("jensen", jensen_shannon),
    "hard label added": (
        "is added",
        lambda s, z, t: kl_plain(s, z, t) + F.cross_entropy(s, z.argmax(dim=1)),
    ),
    "divided by V": ("v alone", distilled(mean=lambda kl, z: kl.sum() / z.shape[1])),
    "divided": ("divided by t squared", distilled(factor=lambda t: 1 / t**2)),
    "student hard": ("student is not softened", distilled(student_of=lambda z, t: z)),
    "teacher hard": ("teacher is not softened", distilled(teacher_of=lambda z, t: z)),
    "neither": (
        "neither is softened",
        distilled(student_of=lambda z, t: z, teacher_of=lambda z, t: z),
    ),
    "multiplied": (
        "multiplies",
        distilled(student_of=lambda z, t: z * t, teacher_of=lambda z, t: z * t),
    ),
    "T of 2": ("fixed", lambda s, z, t: kl_plain(s, z, 2.0)),
    "cross-entropy": (
        "cross-entropy",
        lambda s, z, t: t**2 * F.cross_entropy(s / t, (z.detach() / t).softmax(1)),
    ),
    "hard label": ("hard label", lambda s, z, t: t**2 * F.cross_entropy(s / t, z.argmax(1))),
    "mse of probabilities": (
        "squared differences",
        distilled(cost=lambda p, q: (p.exp() - q.exp()).square().sum(1)),
    ),
    "mse of logits": (
        "squared differences of the logits",
        lambda s, z, t: F.mse_loss(s, z.detach()),
    ),
    "softmax log": ("log_softmax", softmax_log),
    "with epsilon": ("log_softmax", softmax_log_epsilon),
    "own softmax": ("log_softmax", own_softmax),
    "over the batch": (
        "rows of the batch",
        lambda s, z, t: (
            t**2
            * F.kl_div((s / t).log_softmax(0), (z.detach() / t).softmax(0), reduction="batchmean")
        ),
    ),
    "negative": ("sign", lambda s, z, t: -kl_plain(s, z, t)),
    "jeffreys": ("jeffreys", lambda s, z, t: (kl_plain(s, z, t) + kl_plain(z, s, t)) / 2),
    "one number per row": ("shape", distilled(mean=lambda kl, z: kl)),
    "base 2": ("base 2", lambda s, z, t: kl_plain(s, z, t) / math.log(2)),
    "student detached": ("detached", lambda s, z, t: kl_plain(s.detach(), z, t)),
    "item": ("number", lambda s, z, t: kl_plain(s, z, t).item()),
    "in place": ("in place", kl_in_place),
    "float": ("dtype", lambda s, z, t: kl_plain(s.float(), z.float(), t)),
    "weights on the cpu": (
        "gpu",
        distilled(mean=lambda kl, z: (kl * torch.ones(len(z), dtype=z.dtype)).mean()),
    ),
}
