"""The loss of distillation, exercise 03's third task, in steps and with its mistakes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, (N,)."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    taught: Formula = lambda z: z.detach(),
    soften_teacher: Formula = lambda z, t: z / t,
    soften_student: Formula = lambda z, t: z / t,
    log_softmax: Formula = lambda z: F.log_softmax(z, dim=1),
    cost: Formula = divergence,
    mean: Formula = lambda kl, z: kl.mean(),
    factor: Formula = lambda t: t**2,
) -> Tensor:
    """(N, V) logits each -> KL(teacher || student) of the softened softmaxes, times T squared."""
    log_p = log_softmax(soften_teacher(taught(teacher_logits), temperature))  # (N, V)
    log_q = log_softmax(soften_student(student_logits, temperature))
    loss: Tensor = mean(cost(log_p, log_q), student_logits) * factor(temperature)
    return loss


TEACHER = "KL(teacher ‖ student) sums p (log p - log q) over V, with p the teacher's"
WRONG_DISTILLATION = mistakes(
    {
        "soften_teacher": "both are softened, logits / T",
        "soften_student": "both are softened, logits / T",
        "cost": TEACHER,
        "mean": "the divergence is a sum over V, and then a mean over the N rows",
        "factor": "the result is multiplied by T squared",
        "log_softmax": "the softmax goes over V, dim=1",
    },
    cost={
        "teacher and student are swapped, KL(student ‖ teacher) (F.kl_div takes the student's "
        "log-probabilities first, then the teacher's probabilities)": (
            lambda p, q: divergence(q, p)
        ),
        "it is the cross-entropy, p log q alone, and p log p is missing": (
            lambda p, q: -(p.exp() * q).sum(dim=1)
        ),
        "the sign is wrong": lambda p, q: -divergence(p, q),
        "probabilities of almost 0 become 0, whose logarithm is -inf: use F.log_softmax, not "
        "softmax(...).log()": lambda p, q: (p.exp() * (p.exp().log() - q.exp().log())).sum(dim=1),
        "an epsilon inside the logarithm changes small probabilities: use F.log_softmax": (
            lambda p, q: (p.exp() * ((p.exp() + 1e-8).log() - (q.exp() + 1e-8).log())).sum(dim=1)
        ),
        "both directions of the divergence are averaged (Jeffreys)": (
            lambda p, q: (divergence(p, q) + divergence(q, p)) / 2
        ),
        "both directions of the divergence are added": (
            lambda p, q: divergence(p, q) + divergence(q, p)
        ),
        "squared differences of the probabilities are summed": (
            lambda p, q: (p.exp() - q.exp()).square().sum(dim=1)
        ),
        "squared differences of the log-probabilities are summed": (
            lambda p, q: (p - q).square().sum(dim=1)
        ),
        "the teacher's best piece is taken as a hard label": lambda p, q: (
            -q.gather(1, p.argmax(dim=1, keepdim=True))[:, 0]
        ),
        "the teacher's probabilities are missing as weights": lambda p, q: (p - q).sum(dim=1),
        "it is the Jensen-Shannon divergence, of both from their mean": lambda p, q: (
            (
                divergence(p, p.logaddexp(q) - math.log(2))
                + divergence(q, p.logaddexp(q) - math.log(2))
            )
            / 2
        ),
        "the logarithm is of base 2": lambda p, q: divergence(p, q) / torch.tensor(2.0).log(),
        "the absolute value is taken of each term": (
            lambda p, q: (p.exp() * (p - q)).abs().sum(dim=1)
        ),
        "F.kl_div was given the teacher's probabilities as the first argument, where the "
        "student's log-probabilities belong": (
            lambda p, q: F.kl_div(p.exp(), q.exp(), reduction="none").sum(dim=1)
        ),
        "F.kl_div was given the student's probabilities without a logarithm": (
            lambda p, q: F.kl_div(q.exp(), p.exp(), reduction="none").sum(dim=1)
        ),
        "F.kl_div was given the teacher's log-probabilities without log_target=True": (
            lambda p, q: F.kl_div(q, p, reduction="none").sum(dim=1)
        ),
    },
    mean={
        'divided by N and V, as F.kl_div(reduction="mean") does': (
            lambda kl, z: kl.mean() / z.shape[1]
        ),
        "summed over the batch": lambda kl, z: kl.sum(),
        "divided by V alone": lambda kl, z: kl.sum() / z.shape[1],
        "the first row alone counts": lambda kl, z: kl[0],
        "the largest is taken": lambda kl, z: kl.max(),
    },
    factor={
        "the factor of T squared is missing": lambda t: 1,
        "it is multiplied by T and not by T squared": lambda t: t,
        "it is multiplied by T to the third power": lambda t: t**3,
        "it is divided by T squared": lambda t: t**-2,
        "it is divided by T": lambda t: 1 / t,
        "the factor is fixed in the code (4): take the argument": lambda t: 4,
    },
    soften_teacher={
        "the teacher is not softened": lambda z, t: z,
        "the teacher's logits are multiplied by T": lambda z, t: z * t,
        "the teacher is softened twice": lambda z, t: z / t**2,
    },
    soften_student={
        "the student is not softened": lambda z, t: z,
        "the student's logits are multiplied by T": lambda z, t: z * t,
        "the student is softened twice": lambda z, t: z / t**2,
    },
    log_softmax={
        "the softmax goes over the rows of the batch": lambda z: F.log_softmax(z, dim=0),
        "there is no softmax": lambda z: z,
        "a softmax is taken of the probabilities once more": (
            lambda z: F.log_softmax(z.softmax(dim=1), dim=1)
        ),
        "a sigmoid is taken in place of the softmax": F.logsigmoid,
    },
    several={
        "T multiplies the logits: both are softened by a division, logits / T": {
            "soften_teacher": lambda z, t: z * t,
            "soften_student": lambda z, t: z * t,
        },
        "neither is softened: divide both logits by T": {
            "soften_teacher": lambda z, t: z,
            "soften_student": lambda z, t: z,
        },
        "T is fixed in the code (2): take the argument": {
            "soften_teacher": lambda z, t: z / 2,
            "soften_student": lambda z, t: z / 2,
            "factor": lambda t: 4,
        },
        "the softmaxes are divided by T, not the logits: logits / T, then the softmax": {
            "soften_teacher": lambda z, t: z,
            "soften_student": lambda z, t: z,
            "factor": lambda t: t,
        },
    },
)
WRONG_DISTILLATION += [
    Mistake(
        f"squared differences of the logits are averaged: {TEACHER}",
        lambda student, teacher, temperature: F.mse_loss(student, teacher),
    ),
    Mistake(
        "the cross-entropy with the teacher's best piece is added: the soft labels alone are "
        "wanted here",
        lambda student, teacher, temperature: (
            distillation_loss(student, teacher, temperature)
            + F.cross_entropy(student, teacher.argmax(dim=1))
        ),
    ),
]
WRONG_DISTILLATION_GRADIENTS = mistakes(
    {},
    taught={
        "a gradient reaches the teacher: it is not to learn from its student, so detach the "
        "teacher's logits first": lambda z: z,
    },
    soften_student={
        "the student is detached, it is the one that learns": lambda z, t: z.detach() / t,
    },
)
