"""Answers to task 5, how a loss weighs its negatives."""

from collections.abc import Callable

import torch
from torch import Tensor

from answers.shared import eye, forgets_return


def push_of(direction: Callable, rows: Tensor) -> Tensor:
    rows = rows.detach().clone().requires_grad_()
    return torch.autograd.grad(direction(rows), rows)[0]


def divided(push: Tensor) -> Tensor:
    total = push.sum(dim=1, keepdim=True)
    return torch.where(total > 0, push / total.clamp(min=1e-12), 0.0)


def shares(
    after: Callable = lambda push: divided(push.masked_fill(eye(push), 0)),
    ways: Callable = lambda s: (s, s.T),
) -> Callable:
    """weights(direction, similarity): of each way's gradient (B, B) what `after` makes."""

    def weights(direction, similarity):
        return torch.stack([after(push_of(direction, way)) for way in ways(similarity)])

    return weights


right = shares()


def by_backward(direction, similarity):
    result = []
    for way in (similarity, similarity.T):
        leaf = way.detach().clone().requires_grad_(True)
        direction(leaf).backward()
        push = leaf.grad.clone()
        push.fill_diagonal_(0)
        row_sums = push.sum(1, keepdim=True)
        row_sums[row_sums == 0] = 1
        result.append(push / row_sums)
    return torch.stack(result)


def by_functorch(direction, similarity):
    push = torch.stack([torch.func.grad(direction)(way) for way in (similarity, similarity.T)])
    push = push * (1 - torch.eye(len(similarity), dtype=push.dtype, device=push.device))
    return torch.nan_to_num(push / push.sum(-1, keepdim=True)).detach()


def entry_by_entry(direction, similarity):
    out = torch.zeros(2, *similarity.shape, dtype=similarity.dtype, device=similarity.device)
    for d, way in enumerate([similarity, similarity.T]):
        push = push_of(direction, way)
        for b in range(len(way)):
            others = [k for k in range(len(way)) if k != b]
            total = sum(push[b, k] for k in others)
            for k in others:
                if total > 0:
                    out[d, b, k] = push[b, k] / total
    return out


RIGHT_SHARES = [
    right,
    by_backward,
    by_functorch,
    entry_by_entry,
    shares(
        lambda push: torch.nan_to_num(push.fill_diagonal_(0) / push.sum(1, keepdim=True), nan=0)
    ),
    shares(lambda push: push.fill_diagonal_(0) / (push.sum(1, keepdim=True) + 1e-12)),
    shares(lambda push: torch.nn.functional.normalize(push.fill_diagonal_(0), p=1, dim=1)),
    shares(lambda push: divided(push.clamp(min=0))),  # the positive's derivative is below 0
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def off(push: Tensor) -> Tensor:
    return push.masked_fill(eye(push), 0)


def safe(total: Tensor) -> Tensor:
    return total.where(total != 0, 1)


def by_sum(push: Tensor) -> Tensor:
    return off(push) / safe(off(push).sum(dim=1, keepdim=True))


def images_only(direction, similarity):
    return divided(off(push_of(direction, similarity)))


def in_place(right: Callable) -> Callable:
    def weights(direction, similarity):
        similarity.fill_diagonal_(0.5)
        return right(direction, similarity)

    return weights


def switched_on(direction, similarity):
    similarity.requires_grad_()
    columns = similarity.T.detach().clone().requires_grad_()
    push = (
        torch.autograd.grad(direction(similarity), similarity)[0],
        torch.autograd.grad(direction(columns), columns)[0],
    )
    return torch.stack([divided(off(one)) for one in push])


def left_behind(direction, similarity):
    if not similarity.requires_grad:
        return right(direction, similarity)
    direction(similarity).backward()
    return torch.stack(
        [divided(off(similarity.grad)), divided(off(push_of(direction, similarity.T)))]
    )


def needs_no_copy(direction, similarity):
    push = torch.autograd.grad(direction(similarity), similarity)[0]
    return torch.stack([divided(off(push)), divided(off(push_of(direction, similarity.T)))])


def grad_of_a_view(direction, similarity):
    leaf = similarity.detach().clone().requires_grad_()
    columns = leaf.T
    direction(columns).backward()
    return torch.stack([divided(off(columns.grad)), divided(off(columns.grad))])


def unused(direction, similarity):
    leaf = similarity.detach().clone().requires_grad_()
    push = torch.autograd.grad(direction(similarity.clone().requires_grad_()), leaf)[0]
    return torch.stack([push, push])


def carries_gradient(after: Callable) -> Callable:
    def weights(direction, similarity):
        result = []
        for way in (similarity, similarity.T):
            leaf = way if way.requires_grad else way.clone().requires_grad_()
            push = torch.autograd.grad(direction(leaf), leaf, create_graph=True)[0]
            result.append(after(push) + 0 * leaf)
        return torch.stack(result) if similarity.requires_grad else torch.stack(result).detach()

    return weights


def fixed_dtype(direction, similarity):
    out = torch.zeros(2, *similarity.shape)
    out[:] = right(direction, similarity)
    return out


def on_the_cpu(direction, similarity):
    others = 1 - torch.eye(len(similarity), dtype=similarity.dtype)
    return shares(lambda push: divided(push * others))(direction, similarity)


def differences(after: Callable) -> Callable:
    """Finite differences, too coarse for float32."""

    def weights(direction, similarity):
        out = []
        for way in (similarity.detach(), similarity.detach().T):
            push = torch.zeros_like(way)
            for b in range(len(way)):
                for k in range(len(way)):
                    step = torch.zeros_like(way)
                    step[b, k] = 1e-6
                    push[b, k] = (direction(way + step) - direction(way - step)) / 2e-6
            out.append(after(push))
        return torch.stack(out)

    return weights


def always_sum(direction, similarity, margin=0.5):
    def shares_of(way):
        within = (margin - way.diagonal()[:, None] + way > 0).to(way.dtype)
        return divided(off(within))

    return torch.stack([shares_of(similarity), shares_of(similarity.T)]).detach()


def always_softmax(direction, similarity, temperature=0.2):
    ways = torch.stack([similarity, similarity.T]).detach()
    diagonal = torch.eye(len(similarity), dtype=torch.bool)
    return (ways / temperature).masked_fill(diagonal, -torch.inf).softmax(dim=2)


def always_hardest(direction, similarity):
    ways = torch.stack([similarity, similarity.T]).detach()
    diagonal = torch.eye(len(similarity), dtype=torch.bool)
    hardest = ways.masked_fill(diagonal, -torch.inf).argmax(dim=2)
    return torch.nn.functional.one_hot(hardest, len(similarity)).to(similarity.dtype)


def first_five(direction, similarity):
    return right(direction, similarity)[:, :5, :5]


def summed_ways(direction, similarity):
    leaf = similarity.detach().clone().requires_grad_()
    push = torch.autograd.grad(direction(leaf) + direction(leaf.T), leaf)[0]
    return torch.stack([divided(off(push)), divided(off(push.T))])


def columns_back(direction, similarity):
    """The texts' gradient taken by the images' matrix, so that its rows are images."""
    leaf = similarity.detach().clone().requires_grad_()
    push = [torch.autograd.grad(direction(way(leaf)), leaf)[0] for way in (lambda x: x, torch.t)]
    return torch.stack([divided(off(one)) for one in push])


def over_both(direction, similarity):
    push = torch.stack([off(push_of(direction, way)) for way in (similarity, similarity.T)])
    return push / safe(push.sum(dim=(0, 2), keepdim=True))


WRONG_SHARES = {
    "rows for both": ("similarity.t", shares(ways=lambda s: (s, s))),
    "swapped": ("swapped", shares(ways=lambda s: (s.T, s))),
    "transposed back": (
        "is transposed",
        lambda d, s: torch.stack([right(d, s)[0], right(d, s)[1].T]),
    ),
    "first transposed": (
        "[0] transposed",
        lambda d, s: torch.stack([right(d, s)[0], right(d, s)[0].T]),
    ),
    "directions added": ("one direction each", summed_ways),
    "columns back": ("transposed", columns_back),
    "not divided": ("not divided", shares(off)),
    "times the batch": ("multiplied by b", shares(lambda push: off(push) * len(push))),
    "by the columns": ("wrong axis", shares(lambda push: off(push) / safe(off(push).sum(0)))),
    "by the matrix": ("whole matrix", shares(lambda push: off(push) / off(push).sum())),
    "by everything": (
        "over both directions",
        lambda d, s: shares(off)(d, s) / shares(off)(d, s).sum(),
    ),
    "by both directions' rows": ("over both directions", over_both),
    "by the largest": (
        "row's largest",
        shares(lambda push: off(push) / safe(off(push).amax(1, keepdim=True))),
    ),
    "by the length": (
        "row's length",
        shares(lambda push: torch.nn.functional.normalize(off(push), dim=1)),
    ),
    "by the mean": (
        "row's mean",
        shares(lambda push: off(push) / safe(off(push).mean(1, keepdim=True))),
    ),
    "NaN": ("0 / 0", shares(lambda push: off(push) / off(push).sum(1, keepdim=True))),
    "even row": (
        "even row",
        shares(
            lambda push: torch.where(
                off(push).sum(1, keepdim=True) > 0,
                divided(off(push)),
                off(torch.ones_like(push)) / (len(push) - 1),
            )
        ),
    ),
    "large epsilon": (
        "epsilon",
        shares(lambda push: off(push) / (off(push).sum(1, keepdim=True) + 1e-3)),
    ),
    "least sum": (
        "least sum",
        shares(lambda push: off(push) / off(push).sum(1, keepdim=True).clamp(min=0.1)),
    ),
    "least sum 0.01": (
        "least sum",
        shares(lambda push: off(push) / off(push).sum(1, keepdim=True).clamp(min=1e-2)),
    ),
    "by the pull": (
        "pull on the positive",
        shares(lambda push: off(push) / safe(-push.diagonal()[:, None].clamp(max=0))),
    ),
    "diagonal set to 0 first": (
        "before the gradient",
        shares(lambda push: by_sum(push), lambda s: (off(s), off(s.T))),
    ),
    "diagonal kept": (
        "diagonal is not left out",
        shares(lambda push: push / safe(push.sum(1, keepdim=True))),
    ),
    "diagonal 0 too late": (
        "after the diagonal was taken out",
        shares(lambda push: off(push / safe(push.sum(1, keepdim=True)))),
    ),
    "absolute values": ("absolute values", shares(lambda push: divided(push.abs()))),
    "similarities": (
        "whatever the function",
        lambda d, s: torch.stack(
            [off(w) / safe(off(w).sum(1, keepdim=True)) for w in (s, s.T)]
        ).detach(),
    ),
    "softmax": (
        "whatever the function",
        lambda d, s: torch.stack(
            [w.masked_fill(eye(w), -torch.inf).softmax(1) for w in (s, s.T)]
        ).detach(),
    ),
    "softmax, diagonal too": (
        "whatever the function",
        lambda d, s: torch.stack([w.softmax(1) for w in (s, s.T)]).detach(),
    ),
    "softmax of the gradient": (
        "softmax is taken of the gradient",
        shares(lambda push: push.masked_fill(eye(push), -torch.inf).softmax(1)),
    ),
    "softmax of the gradient, diagonal too": (
        "diagonal is not left out",
        shares(lambda push: push.softmax(1)),
    ),
    "times the similarity": (
        "multiplied by the similarities",
        lambda d, s: torch.stack([by_sum(push_of(d, w) * w) for w in (s.detach(), s.detach().T)]),
    ),
    "every one alike": (
        "gets the same",
        shares(lambda push: divided(off((push > 0).to(push.dtype)))),
    ),
    "squares": ("squared", shares(lambda push: divided(off(push).square()))),
    "sign": ("does not sum to 1", shares(lambda push: -off(push))),
    "sign of the shares": ("-1", lambda d, s: -right(d, s)),
    "hardest": ("whatever the function", always_hardest),
    "the sum's formula": ("whatever the function", always_sum),
    "the smooth loss's formula": ("whatever the function", always_softmax),
    "finite differences": ("float32", differences(lambda push: divided(off(push)))),
    "one direction": ("one direction alone", images_only),
    "a list": ("list", lambda d, s: list(right(d, s))),
    "a tuple": ("tuple", lambda d, s: tuple(right(d, s))),
    "stacked last": ("shape", lambda d, s: right(d, s).permute(1, 2, 0)),
    "concatenated": ("shape", lambda d, s: torch.cat(tuple(right(d, s)))),
    "first five": ("(2, b, b)", first_five),
    "no return": ("nothing is returned", forgets_return),
    "numpy": ("numpy", lambda d, s: right(d, s).numpy()),
    "in place": ("in place", in_place(right)),
    "switched on": ("requires_grad", switched_on),
    "left behind": ("backward", left_behind),
    "nothing to differentiate": ("requires_grad_", needs_no_copy),
    "another tensor": ("another tensor", unused),
    "gradient of a view": ("none", grad_of_a_view),
    "carries a gradient": (
        "detach what you return",
        carries_gradient(lambda push: divided(off(push))),
    ),
    "float32 fixed": ("dtype", fixed_dtype),
    "float64": ("dtype", lambda d, s: right(d, s.double())),
    "on the CPU": ("gpu", on_the_cpu),
    "half": ("lower precision", lambda d, s: right(d, s.half()).to(s.dtype)),
    "random": ("random", lambda d, s: right(d, s) + 0 * torch.rand(1, dtype=s.dtype)),
    "called": ("arguments", lambda s: right(s, s)),
}
