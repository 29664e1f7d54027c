"""Answers to task 5 of exercise 14, the shares of any loss."""

import torch
from torch import Tensor

from answers import shares as earlier
from answers.shared import eye, forgets_return
from answers.shares import off, safe


def push_of(loss, rows: Tensor) -> Tensor:
    with torch.enable_grad():
        rows = rows.detach().clone().requires_grad_()
        return torch.autograd.grad(loss(rows), rows)[0]


def by_sum(push: Tensor) -> Tensor:
    return push / safe(push.sum(dim=1, keepdim=True))


def pushes(push: Tensor) -> Tensor:
    return by_sum(off(push.relu()))


def made(after=pushes, ways=lambda s: (s, s.T)):
    """answer(loss, similarity): of each way's gradient (B, B) what `after` makes."""

    def answer(loss, similarity):
        return torch.stack([after(push_of(loss, way)) for way in ways(similarity)])

    return answer


right = made()


def by_backward(loss, similarity):
    result = []
    for way in (similarity, similarity.T):
        with torch.enable_grad():
            leaf = way.detach().clone().requires_grad_(True)
            loss(leaf).backward()
        push = leaf.grad.clamp(min=0).fill_diagonal_(0)
        sums = push.sum(1, keepdim=True)
        sums[sums == 0] = 1
        result.append(push / sums)
    return torch.stack(result)


def by_functorch(loss, similarity):
    push = torch.stack([torch.func.grad(loss)(way) for way in (similarity, similarity.T)])
    push = push.clamp(min=0) * (1 - torch.eye(len(similarity), dtype=push.dtype).to(push))
    return torch.nan_to_num(push / push.sum(-1, keepdim=True)).detach()


@torch.enable_grad()
def decorated(loss, similarity):
    out = []
    for rows in (similarity, similarity.mT):
        leaf = rows.detach().clone().requires_grad_()
        (push,) = torch.autograd.grad(loss(leaf), [leaf])
        push = torch.where(eye(push) | (push < 0), 0, push)
        out.append(torch.nn.functional.normalize(push, p=1, dim=1))
    return torch.stack(out)


def entry_by_entry(loss, similarity):
    out = torch.zeros(2, *similarity.shape, dtype=similarity.dtype, device=similarity.device)
    for d, way in enumerate([similarity, similarity.T]):
        push = push_of(loss, way)
        for b in range(len(way)):
            total = sum(push[b, k] for k in range(len(way)) if k != b and push[b, k] > 0)
            for k in range(len(way)):
                if k != b and push[b, k] > 0:
                    out[d, b, k] = push[b, k] / total
    return out


RIGHT = [
    right,
    by_backward,
    by_functorch,
    decorated,
    entry_by_entry,
    made(lambda push: off(push.relu()) / (off(push.relu()).sum(1, keepdim=True) + 1e-12)),
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def stays_on(loss, similarity):
    torch.set_grad_enabled(True)
    return right(loss, similarity)


def on_the_cpu(loss, similarity):
    others = 1 - torch.eye(len(similarity), dtype=similarity.dtype)
    return made(lambda push: by_sum(push.relu() * others))(loss, similarity)


def own_direction(loss, similarity):
    """The gradient of the whole batch's loss, both directions in one matrix."""
    leaf = similarity.detach().clone().requires_grad_()
    with torch.enable_grad():
        push = torch.autograd.grad(loss(leaf) + loss(leaf.T), leaf)[0].relu()
    return torch.stack([by_sum(off(push)), by_sum(off(push.T))])


WRONG = {
    "diagonal kept": ("diagonal is not left out", made(lambda push: by_sum(push.relu()))),
    "exercise 04's": ("torch.no_grad()", lambda d, s: made_earlier(d, s)),
    "exercise 04's, unclamped": ("pulled", earlier.right),
    "pulls left in": ("pulled", made(lambda push: by_sum(off(push)))),
    "absolute values": ("absolute values", made(lambda push: by_sum(off(push).abs()))),
    "pulls taken out late": (
        "after the division",
        made(lambda push: by_sum(off(push)).relu()),
    ),
    "absolute values, diagonal too": (
        "diagonal among them",
        made(lambda push: by_sum(push.abs())),
    ),
    "stays on": ("stay on", stays_on),
    "rows for both": ("similarity.t", made(ways=lambda s: (s, s))),
    "swapped": ("swapped", made(ways=lambda s: (s.T, s))),
    "transposed back": (
        "is transposed",
        lambda d, s: torch.stack([right(d, s)[0], right(d, s)[1].T]),
    ),
    "first transposed": (
        "[0] transposed",
        lambda d, s: torch.stack([right(d, s)[0], right(d, s)[0].T]),
    ),
    "the batch's gradient": ("one direction each", own_direction),
    "not divided": ("not divided", made(lambda push: off(push.relu()))),
    "by the columns": (
        "wrong axis",
        made(lambda push: off(push.relu()) / safe(off(push.relu()).sum(0))),
    ),
    "by the matrix": (
        "whole matrix",
        made(lambda push: off(push.relu()) / off(push.relu()).sum()),
    ),
    "by the largest": (
        "row's largest",
        made(lambda push: off(push.relu()) / safe(off(push.relu()).amax(1, keepdim=True))),
    ),
    "NaN": (
        "0 / 0",
        made(lambda push: off(push.relu()) / off(push.relu()).sum(1, keepdim=True)),
    ),
    "even row": (
        "even row",
        made(
            lambda push: torch.where(
                off(push.relu()).sum(1, keepdim=True) > 0,
                by_sum(off(push.relu())),
                off(torch.ones_like(push)) / (len(push) - 1),
            )
        ),
    ),
    "large epsilon": (
        "epsilon",
        made(lambda push: off(push.relu()) / (off(push.relu()).sum(1, keepdim=True) + 1e-3)),
    ),
    "least sum": (
        "least sum",
        made(lambda push: off(push.relu()) / off(push.relu()).sum(1, keepdim=True).clamp(min=0.1)),
    ),
    "by the pull": (
        "pull on the positive",
        made(lambda push: off(push.relu()) / safe(-push.diagonal()[:, None].clamp(max=0))),
    ),
    "diagonal set to 0 first": (
        "before the gradient",
        made(ways=lambda s: (off(s), off(s.T))),
    ),
    "diagonal 0 too late": (
        "after the diagonal was taken out",
        made(lambda push: off(push / safe(push.sum(1, keepdim=True)))),
    ),
    "softmax of the gradient": (
        "softmax is taken of the gradient",
        made(lambda push: push.masked_fill(eye(push), -torch.inf).softmax(1)),
    ),
    "softmax whatever the loss": ("whatever the function", earlier.always_softmax),
    "every one alike": (
        "gets the same",
        made(lambda push: by_sum(off((push > 0).to(push.dtype)))),
    ),
    "sign": ("wrong sign", made(lambda push: by_sum(off((-push).relu())))),
    "finite differences": ("float32", earlier.differences(pushes)),
    "one direction": ("one direction alone", lambda d, s: right(d, s)[0]),
    "a list": ("list", lambda d, s: list(right(d, s))),
    "no return": ("nothing is returned", forgets_return),
    "in place": ("in place", earlier.in_place(right)),
    "another tensor": ("another tensor", earlier.unused),
    "carries a gradient": ("detach what you return", earlier.carries_gradient(pushes)),
    "float32 fixed": ("dtype", lambda d, s: right(d, s).float()),
    "on the CPU": ("gpu", on_the_cpu),
    "random": ("random", lambda d, s: right(d, s) + 0 * torch.rand(1, dtype=s.dtype)),
    "called": ("arguments", lambda s: right(s, s)),
}


def made_earlier(loss, similarity):
    """Right but for the caller's no_grad, as in exercise 04."""
    result = []
    for rows in (similarity, similarity.T):
        rows = rows.detach().clone().requires_grad_()
        push = off(torch.autograd.grad(loss(rows), rows)[0].relu())
        result.append(by_sum(push))
    return torch.stack(result)
