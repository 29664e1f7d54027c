"""Answers to task 2 of exercise 13: two views of one branch."""

import torch
import torch.nn.functional as F

from answers.shared import eye, forgets_return, unit


def scores(emb, other_view, temperature):
    z = unit(torch.cat([emb, other_view]))
    return z @ z.T / temperature


def targets(s):
    return torch.arange(len(s), device=s.device).roll(len(s) // 2)


def masked(s):
    return s.masked_fill(eye(s), float("-inf"))


# ---------------------------------------------------------------------------------------------
# Right


def by_cross_entropy(emb, other_view, temperature):
    s = masked(scores(emb, other_view, temperature))
    return F.cross_entropy(s, targets(s))


def by_blocks(emb, other_view, temperature):
    a, b = unit(emb), unit(other_view)
    cross, first, second = a @ b.T / temperature, a @ a.T / temperature, b @ b.T / temperature
    one = torch.cat([cross, masked(first)], dim=1).logsumexp(dim=1) - cross.diagonal()
    two = torch.cat([cross.T, masked(second)], dim=1).logsumexp(dim=1) - cross.diagonal()
    return (one.mean() + two.mean()) / 2


def by_removing(emb, other_view, temperature):
    s = scores(emb, other_view, temperature)
    size = len(s)
    others = s[~eye(s)].reshape(size, size - 1)
    positive = torch.cat([s.diagonal(size // 2), s.diagonal(-(size // 2))])
    return (others.logsumexp(dim=1) - positive).mean()


def by_subtraction(emb, other_view, temperature):
    s = scores(emb, other_view, temperature)
    s = s - 1e9 * torch.eye(len(s), dtype=s.dtype, device=s.device)
    return F.cross_entropy(s, targets(s))


RIGHT = [by_cross_entropy, by_blocks, by_removing, by_subtraction]


# ---------------------------------------------------------------------------------------------
# Wrong


def other_view_alone(emb, other_view, temperature):
    s = unit(emb) @ unit(other_view).T / temperature
    own = torch.arange(len(s), device=s.device)
    return (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2


def itself_kept(emb, other_view, temperature):
    s = scores(emb, other_view, temperature)
    return F.cross_entropy(s, targets(s))


def itself_zero(emb, other_view, temperature):
    s = scores(emb, other_view, temperature).masked_fill(
        torch.eye(2 * len(emb), dtype=torch.bool), 0
    )
    return F.cross_entropy(s, targets(s))


def positive_out(emb, other_view, temperature):
    s = masked(scores(emb, other_view, temperature))
    rows = torch.arange(len(s))
    positive = s[rows, targets(s)]
    without = s.clone()
    without[rows, targets(s)] = float("-inf")
    return (without.logsumexp(dim=1) - positive).mean()


def one_view_asks(emb, other_view, temperature):
    s = masked(scores(emb, other_view, temperature))
    return F.cross_entropy(s[: len(emb)], targets(s)[: len(emb)])


def itself_as_target(emb, other_view, temperature):
    s = scores(emb, other_view, temperature)
    return F.cross_entropy(s, torch.arange(len(s)))


def turns(emb, other_view, temperature):
    s = masked(scores(emb, other_view, temperature))
    return F.cross_entropy(s, torch.arange(len(s)) ^ 1)


def interleaved_wrongly(emb, other_view, temperature):
    z = unit(torch.stack([emb, other_view], dim=1).flatten(0, 1))
    s = masked(z @ z.T / temperature)
    return F.cross_entropy(s, targets(s))


def not_normalised(emb, other_view, temperature):
    z = torch.cat([emb, other_view])
    s = masked(z @ z.T / temperature)
    return F.cross_entropy(s, targets(s))


def columns(emb, other_view, temperature):
    z = torch.cat([F.normalize(emb, dim=0), F.normalize(other_view, dim=0)])
    s = masked(z @ z.T / temperature)
    return F.cross_entropy(s, targets(s))


def temperature_twice(emb, other_view, temperature):
    return by_cross_entropy(emb, other_view, temperature**2)


def by_exp(emb, other_view, temperature):
    e = (
        scores(emb, other_view, temperature)
        .exp()
        .masked_fill(torch.eye(2 * len(emb), dtype=torch.bool), 0)
    )
    return -(e[torch.arange(len(e)), targets(e)] / e.sum(dim=1)).log().mean()


def other_detached(emb, other_view, temperature):
    return by_cross_entropy(emb, other_view.detach(), temperature)


def emb_detached(emb, other_view, temperature):
    return by_cross_entropy(emb.detach(), other_view, temperature)


def on_the_cpu(emb, other_view, temperature):
    s = scores(emb, other_view, temperature)
    s = s.masked_fill(torch.eye(len(s), dtype=torch.bool), float("-inf"))
    return F.cross_entropy(s, torch.arange(len(s)).roll(len(emb)))


def per_row(emb, other_view, temperature):
    s = masked(scores(emb, other_view, temperature))
    return F.cross_entropy(s, targets(s), reduction="none")


def both_sums(emb, other_view, temperature):
    return 2 * by_cross_entropy(emb, other_view, temperature)


def masked_by(number):
    """Itself gets a low number, and not -inf."""

    def within_branch(emb, other_view, temperature):
        s = scores(emb, other_view, temperature)
        return F.cross_entropy(s.masked_fill(eye(s), number), targets(s))

    return within_branch


def lowered_by(number):
    def within_branch(emb, other_view, temperature):
        s = scores(emb, other_view, temperature)
        s = s - number * torch.eye(len(s), dtype=s.dtype, device=s.device)
        return F.cross_entropy(s, targets(s))

    return within_branch


WRONG = {
    "masked by -20": ("-torch.inf", masked_by(-20)),
    "masked by -100": ("-torch.inf", masked_by(-100)),
    "masked by -1000": ("-torch.inf", masked_by(-1000)),
    "lowered by 1000": ("-torch.inf", lowered_by(1000)),
    "lowered by 2000": ("-torch.inf", lowered_by(2000)),
    "other view alone": ("only the other view's rows", other_view_alone),
    "itself kept": ("compared with itself", itself_kept),
    "itself zero": ("set to 0", itself_zero),
    "positive out": ("positive is left out", positive_out),
    "one view asks": ("only the rows of emb ask", one_view_asks),
    "itself as target": ("compared with itself", itself_as_target),
    "taking turns": ("took turns", turns),
    "interleaved": ("wrong", interleaved_wrongly),
    "not normalised": ("not normalised", not_normalised),
    "columns": ("wrong axis", columns),
    "no temperature": (
        "temperature is left out",
        lambda e, o, t: by_cross_entropy(e, o, 1.0),
    ),
    "times temperature": (
        "temperature is multiplied",
        lambda e, o, t: by_cross_entropy(e, o, 1 / t),
    ),
    "temperature squared": ("wrong", temperature_twice),
    "exp": ("overflow", by_exp),
    "sum": ("sum is taken", lambda e, o, t: 2 * len(e) * by_cross_entropy(e, o, t)),
    "divided by B": ("divided by B", both_sums),
    "half": ("half of the mean", lambda e, o, t: by_cross_entropy(e, o, t) / 2),
    "sign": ("sign", lambda e, o, t: -by_cross_entropy(e, o, t)),
    "per row": ("2B", per_row),
    "other detached": ("detached", other_detached),
    "emb detached": ("detached", emb_detached),
    "on the CPU": ("gpu", on_the_cpu),
    "item": ("number", lambda e, o, t: by_cross_entropy(e, o, t).item()),
    "nothing": ("nothing is returned", forgets_return),
}
