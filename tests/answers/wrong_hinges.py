"""Wrong answers to tasks 2 and 3, each beside a word of the message that refuses it."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from answers.cosines import cosines_detached_norm
from answers.hinges import closed, off, plain, skeleton
from answers.shared import cos, eye, forgets_return, own, unit


def each_way(cost: Callable) -> Callable:
    """loss(i, t, m): both directions' cost(hinges (B, B)), its mean over the pairs."""

    def loss(image_emb, text_emb, margin=0.2):
        s = cos(image_emb, text_emb)
        return sum(cost(plain(way, own(way), margin)).mean() for way in (s, s.T))

    return loss


def wrongs(by: str) -> dict[str, tuple[str, Callable]]:
    """Wrong answers to task 2 (by="sum") or 3 ("max"): name -> (word of the message, answer)."""

    def change(hinge: Callable, s: Callable = cos) -> Callable:
        return skeleton(hinge, by, s)

    def costs(image_emb, text_emb, margin=0.2) -> tuple[Tensor, Tensor]:
        s = cos(image_emb, text_emb)
        return closed(plain(s, own(s), margin), by), closed(plain(s.T, own(s), margin), by)

    right = change(plain)

    def shared_hinge(i, t, m=0.2):
        h = plain(cos(i, t), own(cos(i, t)), m)
        return (closed(h, by) + closed(h.T, by)).mean()

    def in_place(i, t, m=0.2):
        i.data.div_(i.data.norm(dim=1, keepdim=True))
        return right(i, t, m)

    def in_place_matrix(i, t, m=0.2):
        s = cos(i, t)
        h = (m - s.diagonal()[:, None] + s).relu()
        h.mul_(h)
        h.sqrt_()
        return (closed(off(h), by) + closed(plain(s.T, own(s), m), by)).mean()

    def no_grad(i, t, m=0.2):
        with torch.no_grad():
            return right(i, t, m)

    def calls_backward(i, t, m=0.2):
        loss = right(i, t, m)
        if loss.requires_grad:
            loss.backward(retain_graph=True)
        return loss

    def detached_norm(i, t, m=0.2):
        return change(plain, cosines_detached_norm)(i, t, m)

    def only_rows_get_gradient(i, t, m=0.2):
        rows, columns = costs(i, t, m)
        return (rows + columns.detach()).mean()

    def new_tensor(i, t, m=0.2):
        return torch.tensor(right(i, t, m).item(), dtype=i.dtype, requires_grad=True)

    def numpy_loss(i, t, m=0.2):
        s = cos(i, t).detach().numpy()
        d = np.diag(s)[:, None]
        both = []
        for way in (s, s.T):
            h = np.maximum(m - d + way, 0)
            np.fill_diagonal(h, 0)
            both.append((h.sum(1) if by == "sum" else h.max(1)).mean())
        return torch.tensor(both[0] + both[1])

    def wrong_index(i, t, m=0.2):
        s, total = cos(i, t), 0
        for way in (s, s.T):
            for b in range(len(s)):
                hinges = [
                    (m - way[b - 1, b - 1] + way[b, k]).relu() for k in range(len(s)) if k != b
                ]
                total = total + closed(torch.stack(hinges)[None], by)[0]
        return total / len(s)

    def rest_of_row(i, t, m=0.2):  # the negatives k > b alone
        s, total = cos(i, t), 0
        for way in (s, s.T):
            for b in range(len(s) - 1):
                total = total + closed((m - way[b, b] + way[b, b + 1 :]).relu()[None], by)[0]
        return total / len(s)

    def on_cpu_eye(i, t, m=0.2):
        s = cos(i, t)
        mask = torch.eye(len(s), dtype=torch.bool)
        ways = [closed((m - own(w) + w).relu().masked_fill(mask, 0), by) for w in (s, s.T)]
        return sum(ways).mean()

    def mask_by_value(i, t, m=0.2):
        return change(lambda s, p, n: (n - p + s).relu() * (s != p))(i, t, m)

    def drop_margin_values(i, t, m=0.2):
        def hinge(s, p, n):
            h = (n - p + s).relu()
            return h.where((h - n).abs() > 1e-9, 0)

        return change(hinge)(i, t, m)

    def huge_constant(i, t, m=0.2):
        return change(lambda s, p, n: (n - p + s.masked_fill(eye(s), -1e9)).relu())(i, t, m)

    def batch_of_five(i, t, m=0.2):
        return sum(one[:5].sum() for one in costs(i, t, m)) / 5

    def with_python_max(image_emb, text_emb, margin=0.2):
        s, total = cos(image_emb, text_emb), torch.tensor(0.0, dtype=image_emb.dtype)
        for way in (s, s.T):
            for b in range(len(s)):
                costs = [max(margin - way[b, b] + way[b, k], 0) for k in range(len(s)) if k != b]
                total = total + (sum(costs) if by == "sum" else max(costs))
        return total / len(s)

    def times(x: float) -> Callable:
        return lambda i, t, m=0.2: x * right(i, t, m)

    def kept_once(i, t, m=0.2):
        s = cos(i, t)
        rows, columns = plain(s, own(s), m), (m - own(s) + s.T).relu()
        return (closed(rows, by) + closed(columns, by)).mean()

    def notebooks_own(i, t, m=0.2):
        i, t = torch.tensor([[1.0, 0], [3, 4]]).to(i), torch.tensor([[4.0, 3], [1, 2]]).to(t)
        return right(i, t, m)

    def euclidean(i, t, m=0.2):
        d = torch.cdist(unit(i), unit(t))
        return sum(closed(off((m + own(w) - w).relu()), by) for w in (d, d.T)).mean()

    same = {
        "diagonal kept once": ("diagonal of its own", kept_once),
        "a variable of the notebook": ("same for every batch", notebooks_own),
        "Euclidean distances": ("Euclidean", euclidean),
        "squared distances": (
            "squared distances",
            change(lambda s, p, m: off((m + 2 * s - 2 * p).relu())),
        ),
        "diagonal kept": ("diagonal is not left out", change(lambda s, p, m: (m - p + s).relu())),
        "diagonal zeroed before the margin": (
            "zeroed before the margin",
            change(lambda s, p, m: (m - p + off(s)).relu()),
        ),
        "upper triangle": ("upper triangle", change(lambda s, p, m: plain(s, p, m).triu(1))),
        "rest of the row": ("upper triangle", rest_of_row),
        "diagonal only": ("only the diagonal", change(lambda s, p, m: (m - p + s).relu() * eye(s))),
        "images only": (
            "one direction only: the texts",
            lambda i, t, m=0.2: costs(i, t, m)[0].mean(),
        ),
        "texts only": (
            "one direction only: the images",
            lambda i, t, m=0.2: costs(i, t, m)[1].mean(),
        ),
        "halved": ("half of it", lambda i, t, m=0.2: torch.cat(costs(i, t, m)).mean()),
        "twice the images": ("counted twice", lambda i, t, m=0.2: 2 * costs(i, t, m)[0].mean()),
        "twice the texts": ("counted twice", lambda i, t, m=0.2: 2 * costs(i, t, m)[1].mean()),
        "no keepdim": ("[:, none]", change(lambda s, p, m: off((m - p[:-1] + s).relu()))),
        "larger direction": (
            "the larger",
            lambda i, t, m=0.2: torch.maximum(*costs(i, t, m)).mean(),
        ),
        "difference": (
            "subtracted",
            lambda i, t, m=0.2: (costs(i, t, m)[0] - costs(i, t, m)[1]).mean(),
        ),
        "sum over the batch": (
            "summed over the batch",
            lambda i, t, m=0.2: sum(costs(i, t, m)).sum(),
        ),
        "B squared": ("B * B", lambda i, t, m=0.2: sum(costs(i, t, m)).mean() / len(i)),
        "B - 1": ("B - 1", lambda i, t, m=0.2: sum(costs(i, t, m)).sum() / (len(i) - 1)),
        "by the width": (
            "divided by d",
            lambda i, t, m=0.2: sum(costs(i, t, m)).sum() / i.shape[1],
        ),
        "by 32": ("batch size is fixed", lambda i, t, m=0.2: sum(costs(i, t, m)).sum() / 32),
        "by 5": ("fixed in the code", lambda i, t, m=0.2: sum(costs(i, t, m)).sum() / 5),
        "first 5": ("fixed in the code", batch_of_five),
        "reshaped to 5": ("size is fixed", change(lambda s, p, m: plain(s, p, m).reshape(5, 5))),
        "no margin": ("margin is missing", change(lambda s, p, m: off((s - p).relu()))),
        "margin's sign": ("wrong sign", change(lambda s, p, m: off((s - p - m).relu()))),
        "margin twice": ("twice", change(lambda s, p, m: off((2 * m - p + s).relu()))),
        "margin fixed": ("fixed at 0.2", lambda i, t, m=0.2: right(i, t, 0.2)),
        "margin fixed at 1": ("fixed at 1", lambda i, t, m=0.2: right(i, t, 1)),
        "margin outside": ("outside", change(lambda s, p, m: off((s - p).relu() + m))),
        "swapped": ("swapped", change(lambda s, p, m: off((m + p - s).relu()))),
        "positive added": ("positive is added", change(lambda s, p, m: off((m + p + s).relu()))),
        "negative subtracted": (
            "negative is subtracted",
            change(lambda s, p, m: off((m - p - s).relu())),
        ),
        "no positive": ("positive is missing", change(lambda s, p, m: off((m + s).relu()))),
        "abs": ("absolute value", change(lambda s, p, m: off((m - p + s).abs()))),
        "clamped from above": ("from above", change(lambda s, p, m: off((m - p + s).clamp(max=0)))),
        "squared": ("squared", change(lambda s, p, m: plain(s, p, m).square())),
        "softplus": ("softplus", change(lambda s, p, m: off(F.softplus(m - p + s)))),
        "counted": ("counted", change(lambda s, p, m: (plain(s, p, m) > 0).to(s.dtype))),
        "semi-hard": ("semi-hard", change(lambda s, p, m: plain(s, p, m) * (s < p))),
        "harder only": ("above the positive", change(lambda s, p, m: plain(s, p, m) * (s > p))),
        "not normalised": ("not normalised", change(plain, lambda i, t: i @ t.T)),
        "wrong axis": (
            "wrong axis",
            change(plain, lambda i, t: F.normalize(i, dim=0) @ F.normalize(t, dim=0).T),
        ),
        "only images": ("only the image rows", change(plain, lambda i, t: unit(i) @ t.T)),
        "distance": ("distance", change(plain, lambda i, t: 1 - cos(i, t))),
        "wrong index": ("wrong row", wrong_index),
        "mask by value": ("by its value", mask_by_value),
        "margin's value dropped": ("by its value", drop_margin_values),
        "two mistakes": ("two things", change(lambda s, p, m: (m - p + s).abs())),
        "scaled": ("3 times the right one", times(3)),
        "negative": ("-1 times", times(-1)),
        "offset": ("off by 0.1", lambda i, t, m=0.2: right(i, t, m) + 0.1),
        "a number": (".item()", lambda i, t, m=0.2: right(i, t, m).item()),
        "a float": ("Python number", lambda i, t, m=0.2: float(right(i, t, m))),
        "no return": ("nothing is returned", forgets_return),
        "both directions": (
            "tuple",
            lambda i, t, m=0.2: tuple(one.mean() for one in costs(i, t, m)),
        ),
        "per pair": ("one number per pair", lambda i, t, m=0.2: sum(costs(i, t, m))),
        "per negative": ("per negative", lambda i, t, m=0.2: plain(cos(i, t), own(cos(i, t)), m)),
        "shape (1,)": ("shape ()", lambda i, t, m=0.2: right(i, t, m)[None]),
        "detached": ("detached", lambda i, t, m=0.2: right(i, t, m).detach()),
        "no_grad": ("no_grad", no_grad),
        "a new tensor": ("no gradient reaches", new_tensor),
        "numpy and back": ("numpy", numpy_loss),
        "detached images": ("image_emb", lambda i, t, m=0.2: right(i.detach(), t, m)),
        "detached positives": (
            "positives are detached",
            change(lambda s, p, m: plain(s, p.detach(), m)),
        ),
        "detached negatives": (
            "negatives are detached",
            change(lambda s, p, m: off((m - p + s.detach()).relu())),
        ),
        "detached norms": ("lengths are detached", detached_norm),
        "detached direction": ("text -> images", only_rows_get_gradient),
        "Python's max": ("python's max", with_python_max),
        "calls backward": ("backward", calls_backward),
        "in place": ("in place", in_place),
        "in place on the way": ("place", in_place_matrix),
        "float64 out": ("dtype", lambda i, t, m=0.2: right(i.double(), t.double(), m)),
        "float32 inside": ("dtype", lambda i, t, m=0.2: right(i.float(), t.float(), m)),
        "float32 and back": ("float", lambda i, t, m=0.2: right(i.half(), t.half(), m).to(i.dtype)),
        "float64 only": (
            "dtype",
            lambda i, t, m=0.2: right(i @ torch.eye(i.shape[1], dtype=torch.float64), t, m),
        ),
        "eye on the CPU": ("gpu", on_cpu_eye),
        "CPU by name": ("gpu", lambda i, t, m=0.2: right(i.cpu(), t.cpu(), m)),
        "GPU by name": ("device", lambda i, t, m=0.2: right(i.cuda(), t.cuda(), m)),
        "-1e9": ("float16", huge_constant),
        "random": ("random", lambda i, t, m=0.2: right(i[torch.randperm(len(i))] * 0 + i, t, m)),
        "keeps no margin argument": ("arguments", lambda i, t: right(i, t)),
    }
    if by == "sum":
        return same | {
            "no clamp": ("clamp is missing", change(lambda s, p, m: off(m - p + s))),
            "leaky": ("leaky", change(lambda s, p, m: off(F.leaky_relu(m - p + s)))),
            "diagonal at -1": (
                "set to -1",
                change(lambda s, p, m: (m - p + s.masked_fill(eye(s), -1)).relu()),
            ),
            "the max": ("the max is taken: the sum", skeleton(plain, "max")),
            "mean of negatives": (
                "mean over the negatives",
                lambda i, t, m=0.2: right(i, t, m) / (len(i) - 1),
            ),
            "mean of the matrix": (
                "B * B",
                lambda i, t, m=0.2: sum(
                    plain(w, own(w), m).mean() for w in (cos(i, t), cos(i, t).T)
                ),
            ),
            "mean of the active": (
                "above 0",
                lambda i, t, m=0.2: (
                    len(i)
                    * right(i, t, m)
                    / sum((plain(w, own(w), m) > 0).sum() for w in (cos(i, t), cos(i, t).T)).clamp(
                        min=1
                    )
                ),
            ),
            "a clamp of the sum": (
                "whole sum",
                change(lambda s, p, m: off(m - p + s).sum(1, keepdim=True).relu()),
            ),
            "two hardest": (
                "two hardest",
                change(lambda s, p, m: plain(s, p, m).topk(min(2, len(s) - 1)).values),
            ),
        }
    return same | {
        "the sum": (
            "the sum is taken: each query costs the hinge of its own hardest",
            skeleton(plain, "sum"),
        ),
        "the mean": ("mean over the negatives", each_way(lambda h: h.sum(1) / (len(h) - 1))),
        "shared hinges": ("row direction's hinges", shared_hinge),
        "over the columns": ("wrong axis", each_way(lambda h: h.amax(0))),
        "wrong positives": ("wrong axis", change(lambda s, p, m: plain(s, p.T, m))),
        "over the whole matrix": ("whole matrix", each_way(lambda h: h.max())),
        "over both, once": ("whole matrix", each_way(lambda h: h.max() / len(h))),
        "easiest": ("easiest", each_way(lambda h: h.masked_fill(eye(h), math.inf).amin(1))),
        "log-sum-exp": (
            "log-sum-exp",
            each_way(lambda h: h.masked_fill(eye(h), -math.inf).logsumexp(1)),
        ),
        "both hardest": (
            "two hardest",
            each_way(lambda h: h.topk(min(2, len(h) - 1)).values.sum(1)),
        ),
        "max without clamp": (
            "clamp is missing",
            change(lambda s, p, m: (m - p + s).masked_fill(eye(s), -math.inf)),
        ),
        "max with places": (
            "two things",
            each_way(lambda h: h.max(dim=1)),
        ),
        "places": ("argmax gives", each_way(lambda h: h.argmax(1).double())),
    }
