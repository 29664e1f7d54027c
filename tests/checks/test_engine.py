"""What a check can look at: results and arguments of any kind, and properties."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmret_lib.checks import CheckFailed
from mmret_lib.checks.engine.arguments import close, copies, tensors, unchanged, weighted_sum
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Case, Mistake, Task


def numbers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def message(task: Task, function: object) -> str:
    with pytest.raises(CheckFailed) as refused:
        check(task, function)
    return str(refused.value)


# ---------------------------------------------------------------------------------------------
# Several results


def ordered(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The highest scores and their places."""
    values, places = scores.sort(descending=True)
    return values[:most], places[:most]


ORDERED = Task(
    name="ordered",
    right=ordered,
    cases=[Case((numbers(9), 4), "nine scores"), Case((numbers(5), 3), "five scores")],
    mistakes=[
        Mistake("the lowest come first", lambda scores, most: scores.sort()[:2]),
        Mistake(
            "all are returned: cut them off at most",
            lambda scores, most: tuple(scores.sort(descending=True)),
        ),
    ],
    remark="So a search ends.",
)


def test_several_results(capsys: pytest.CaptureFixture) -> None:
    check(ORDERED, lambda scores, most: tuple(scores.topk(most)))
    assert "ordered: right. So a search ends." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s, m: s.topk(m).values, "2 results should be"),
        (lambda s, m: (*s.topk(m), m), "3 results are returned: 2 are wanted"),
        (lambda s, m: (s.topk(m).values, s.topk(m).indices.int()), "[1]: the result should be of"),
        (lambda s, m: (s.topk(m).values, s.topk(m).indices + 1), "[1] should be"),
        (lambda s, m: (s.topk(m).values.detach(), s.topk(m).indices), "the result is detached"),
        (lambda s, m: tuple(s.sort(descending=True)), "all are returned: cut them off"),
    ],
)
def test_several_results_refused(answer: object, words: str) -> None:
    assert words.lower() in message(ORDERED, answer).lower()


# ---------------------------------------------------------------------------------------------
# Results that are no tensors, from arguments that are none


def spelled(words: list[str], table: dict[str, list[int]]) -> tuple[list[str], list[int]]:
    """The words in a table, and the sums of their numbers."""
    known = [word for word in words if word in table]
    return known, [sum(table[word]) for word in known]


SPELLED = Task(
    name="spelled",
    right=spelled,
    cases=[
        Case((["b", "c", "a"], {"a": [1, 2], "b": [5]}), "three words"),
        Case((["x"], {}), "an empty table", ("an unknown word should be left out",)),
    ],
    mistakes=[
        Mistake(
            "the table is taken whole", lambda words, table: (list(table), [3, 5][: len(table)])
        )
    ],
    remark="Known.",
)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_list_may_be_any_sequence(kind: object) -> None:
    check(SPELLED, lambda words, table: (spelled(words, table)[0], kind(spelled(words, table)[1])))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda w, t: (list(t), [sum(n) for n in t.values()]), "Probably the table is taken whole"),
        (lambda w, t: ([one for one in w], [sum(t.get(one, [])) for one in w]), "wrong"),
        (lambda w, t: ([one for one in w if t[one]], []), "it raised KeyError"),
        (lambda w, t: (t.clear(), spelled(w, t))[1], "table is changed in place"),
        (lambda w, t: (w.pop(), spelled([*w, "b"], t))[1], "words is changed in place"),
        (lambda w, t: None, "nothing is returned"),
        (lambda w, t: 3, "a int is returned: 2 results should be"),
    ],
)
def test_plain_results_refused(answer: object, words: str) -> None:
    assert words.lower() in message(SPELLED, answer).lower()


# ---------------------------------------------------------------------------------------------
# Modules and generators


def through(x: Tensor, layer: nn.Module) -> Tensor:
    """A layer, and what it adds."""
    return x + layer(x)


def test_modules_follow_the_dtype_and_are_not_shared() -> None:
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))  # in training, it counts batches
    task = Task("through", through, [Case((numbers(4, 3), layer), "a layer")], [], "Fine.")
    before = layer[1].running_mean.clone()
    check(task, through)
    assert torch.equal(before, layer[1].running_mean)
    assert "The numbers are wrong" in message(task, lambda x, layer: layer(x))


def drawn(many: int, generator: torch.Generator) -> Tensor:
    """Numbers drawn from a generator."""
    return torch.rand(many, generator=generator)


def test_a_generator_is_the_only_source_of_chance() -> None:
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    task = Task("drawn", drawn, [Case((4, generator), "four draws")], [], "Fine.")
    check(task, drawn)
    assert torch.equal(state, generator.get_state())
    assert "wrong" in message(task, lambda many, generator: torch.rand(many))


# ---------------------------------------------------------------------------------------------
# Properties


def is_uniform(function: object) -> str | None:
    """What is wrong with a draw of one of three."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(
        torch.tensor([int(function(3, generator)) for _ in range(600)]), minlength=3
    )
    return None if counts.min() > 100 else "the draw is not uniform: each of the three is as likely"


DRAW = Task(
    name="draw",
    right=lambda many, generator: torch.randint(many, (), generator=generator),
    cases=[],
    mistakes=[],
    remark="By chance.",
    properties=[is_uniform],
)


def test_properties_alone_decide_where_there_are_no_cases(capsys: pytest.CaptureFixture) -> None:
    check(DRAW, DRAW.right)
    assert "draw: right. By chance." in capsys.readouterr().out
    assert "not uniform" in message(DRAW, lambda many, generator: 0)
    assert "It raised ValueError: no" in message(DRAW, raises)
    assert "draws random numbers" in message(DRAW, lambda many, generator: random.randrange(many))
    with pytest.raises(NotImplementedError, match="draw is not written yet"):
        check(DRAW, draw)


def raises(many: int, generator: torch.Generator) -> None:
    raise ValueError("no")


def draw(many: int, generator: torch.Generator) -> None:
    raise NotImplementedError


# ---------------------------------------------------------------------------------------------
# Comparing


@pytest.mark.parametrize(
    ("value", "right", "equal"),
    [
        (torch.tensor(3), 3, True),
        (torch.tensor([1, 2]), torch.tensor([1, 2]).int(), True),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([2**53 + 1]), torch.tensor([2**53]), False),
        (3.0000001, 3.0, True),
        (float("nan"), float("nan"), True),
        (3.1, 3.0, False),
        ("a", "a", True),
        ("a", "b", False),
        (None, None, True),
        ([1, 2], (1, 2), True),
        ([1], [1, 2], False),
        ([[1.0], [2.0]], [[1.0], [2.0 + 1e-9]], True),
        (np.array([1, 2]), [1, 2], True),
        (True, torch.tensor(True), False),
    ],
)
def test_close(value: object, right: object, equal: bool) -> None:
    assert close(value, right) is equal


def test_nested_arguments_are_copied_and_compared() -> None:
    args = [{"a": [torch.zeros(2), "x"]}, (torch.ones(1).double(),), np.zeros(2)]
    copied = copies(args, torch.float32, requires_grad=True)
    assert [each.dtype for each in tensors(copied)] == [torch.float32] * 2
    assert all(each.requires_grad for each in tensors(copied))
    same = copies(args, torch.float64)
    assert unchanged(same, copies(args, torch.float64))
    same[0]["a"][0] += 1
    assert not unchanged(same, copies(args, torch.float64))
    assert unchanged(args[2], np.zeros(2)) and not unchanged(args[2], np.ones(2))


def test_the_gradient_of_every_result_counts() -> None:
    first, second = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weighted_sum((first * 1, [second * 1, "text"])).backward()
    assert (first.grad != second.grad).all()


# ---------------------------------------------------------------------------------------------
# What a special case shows, and what the plainer ones before it have shown


def smallest(x: Tensor, k: int) -> Tensor:
    """The places of the k smallest, or of all."""
    return x.argsort(stable=True)[:k]


FEW = "where there are fewer than k all are wanted"
SMALLEST = Task(
    name="smallest",
    right=smallest,
    cases=[
        Case((numbers(9), 4), "nine numbers"),
        Case((numbers(5), 3), "five numbers"),
        Case((numbers(3), 7), "three numbers", (FEW,)),
    ],
    mistakes=[
        Mistake("the largest are taken", lambda x, k: x.argsort(descending=True)[:k]),
        Mistake("all are returned", lambda x, k: x.argsort()),
        Mistake("they are sorted by place", lambda x, k: x.argsort()[:k].sort().values),
    ],
    has_gradient=False,
    half=False,
    remark="It is short.",
)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, k: x.topk(k, largest=False).indices, FEW),
        (lambda x, k: torch.cat([smallest(x, k), torch.zeros(max(0, k - len(x))).long()]), FEW),
        (lambda x, k: x.topk(k).indices, "probably the largest are taken"),
        (lambda x, k: x.topk(k).indices.sort().values + 0 * x.argsort()[k - 1], "index 6"),
        (lambda x, k: smallest(x, k) if k < 7 else None, "stand within a loop"),
        (lambda x, k: smallest(x, k) if k < 7 else x.argsort()[:2], "(2,)"),
        (lambda x, k: smallest(x, k).flip(0), "should be [2, 1, 0] and is [0, 1, 2]"),
        (lambda x, k: smallest(x, k).numpy(), "a numpy array is returned, and a tensor is wanted"),
        (lambda x, k: list(smallest(x, k)), "torch.stack makes it of several"),
        (lambda x, k: x < x.sort().values[min(k, len(x) - 1)], "mask.nonzero()"),
    ],
)
def test_the_first_mistake_is_told(answer: object, words: str) -> None:
    assert words.lower() in message(SMALLEST, answer).lower()


def test_a_hint_of_a_special_case_needs_right_answers_before_it() -> None:
    def answer(x: Tensor, k: int) -> Tensor:
        return x.topk(k).indices.sort().values + 0 * x.argsort()[k - 1]

    assert FEW not in message(SMALLEST, answer)
