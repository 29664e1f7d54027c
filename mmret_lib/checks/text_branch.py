"""The checks of exercise 03, one for each of its tasks.

    from mmret_lib import checks
    checks.text_branch.check_attention(attention)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.text import attention, distillation, pieces, pooling
from mmret_lib.checks.text.cases import (
    ANIMALS,
    BY_HAND,
    DEAD_END,
    HUGE,
    LONG,
    SHY,
    SURE,
    TRAP,
    VERY_LOW,
    ZEROS,
    cut,
    numbers,
    qkv,
    real,
)

__all__ = [
    "check_attention",
    "check_distillation_loss",
    "check_masked_mean",
    "check_word_pieces",
]

SIZE = "a size is fixed in the code: take all sizes from the arguments"


# ---------------------------------------------------------------------------------------------
# Task 1: attention

HEADS = (
    "with heads, q of (B, H, Lq, D), the mask (B, Lk) needs as many sizes as the scores: "
    "mask[:, None, None, :]. Without heads one None is enough"
)
OTHER_LENGTHS = (
    "queries and keys may differ in number, and values in length: q (B, Lq, D), k (B, Lk, D), "
    "v (B, Lk, E), scores (B, Lq, Lk)"
)
LARGE = (
    "large scores overflow: subtract each row's largest before the exponential, as softmax does, "
    "and mask with a number far below them"
)


ATTENTION_TASK = Task(
    name="attention",
    right=attention.attention,
    cases=[
        Case(
            (*qkv(2, lq=5, lk=5, d=3, e=3), real("11111", "111..")), "two texts of 5 and 3 pieces"
        ),
        Case(
            (*qkv(3, lq=4, lk=6, d=5, e=2), real("111111", "1111..", "1.....")),
            "4 queries, 6 keys of 5 numbers, values of 2",
            (OTHER_LENGTHS,),
        ),
        Case(
            (*qkv(2, 3, lq=4, lk=4, d=6, e=6), real("1111", "11..")),
            "two texts with 3 heads, q of shape (2, 3, 4, 6)",
            (HEADS,),
        ),
        Case(
            (*qkv(3, 3, lq=2, lk=5, d=4, e=3), real("11111", "11...", "1111.")),
            "as many heads as texts, q of shape (3, 3, 2, 4)",
            (f"with as many heads as texts the mask goes to the heads: {HEADS}", HEADS),
        ),
        Case(
            (*qkv(3, lq=3, lk=3, d=2, e=4), real("111", "...", "11.")),
            "a text all of whose keys are masked",
            (f"{attention.EMPTY} (neither NaN nor even shares)",),
        ),
        Case(
            (*qkv(2, 2, lq=3, lk=4, d=2, e=2), real("....", "1.1.")),
            "a text of two heads all of whose keys are masked, and one with a hole in its mask",
            (f"{attention.EMPTY} (neither NaN nor even shares)", HEADS),
        ),
        Case(
            VERY_LOW,
            "scores that are all below -10,000",
            (
                "the number that stands for a masked score has to lie below every score: "
                "torch.finfo(scores.dtype).min",
                LARGE,
            ),
        ),
        Case(
            (*qkv(2, lq=3, lk=3, d=3, e=3, scale=400.0), real("111", "11.")),
            "scores of several hundred",
            (LARGE,),
        ),
        Case(
            BY_HAND, "q = [[2, 0], [0, 2]], k = [[1, 0], [0, 1]], v = [[10, 0], [0, 10]]", (SIZE,)
        ),
    ],
    mistakes=attention.WRONG_ATTENTION,
    gradient_mistakes=attention.WRONG_ATTENTION_GRADIENTS,
    symptom=attention.symptom,
    remark=(
        "Each output is a mean of values, weighted by the shares: it cannot leave the range that "
        "the values span."
    ),
    seconds=10,
)

# ---------------------------------------------------------------------------------------------
# Task 2: the mean over the real pieces

MEAN_TASK = Task(
    name="masked_mean",
    right=pooling.masked_mean,
    cases=[
        Case((numbers(2, 5, 3) + 1, real("11111", "111..")), "two texts of 5 and 3 pieces"),
        Case(
            (numbers(5, 4, 6) + 1, real("1111", "11..", "111.", "1...", "1111")),
            "five texts of 1 to 4 pieces",
            (SIZE,),
        ),
        Case((numbers(4, 4, 4), real("1111", "1111", "1111", "1111")), "texts without padding"),
        Case(
            (ZEROS, real("1111", "111.")),
            "real states with zeros in them",
            ("a real state counts even where it is 0: count the mask's True, not the states",),
        ),
        Case(
            (HUGE, real("1111", "11..", "1...")),
            "padding with huge numbers",
            ("the padding is counted: what stands there must not matter",),
        ),
        Case(
            (numbers(3, 5, 2) + 2, real(".11.1", "1...1", "..1..")),
            "masks with holes",
            ("a mask may have its True anywhere: use it, and not the length that it adds up to",),
        ),
        Case(
            (numbers(3, 3, 2) - 1, real("11.", "...", "111")),
            "a text without any real piece",
            (pooling.EMPTY,),
        ),
        Case(
            (torch.tensor([[[1.0, 2], [3, 6], [9, 9]]], dtype=torch.float64), real("11.")),
            "states [[1, 2], [3, 6], [9, 9]], the last one padding",
            (SIZE,),
        ),
    ],
    mistakes=pooling.WRONG_MEANS,
    symptom=pooling.symptom_for(numbers(4, 4, 4), 2),
    gradient_mistakes=pooling.WRONG_MEAN_GRADIENTS,
    remark=(
        "Every real piece gets the gradient 1 / n: in a long caption each word is heard less than "
        "in a short one."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: distillation

DISTILLATION_TASK = Task(
    name="distillation_loss",
    right=distillation.distillation_loss,
    cases=[
        Case(
            (numbers(3, 5), 2 * numbers(3, 5, scale=-1.0), 2.0), "three rows of five logits, T = 2"
        ),
        Case((numbers(4, 7), numbers(4, 7).flip(1), 1.0), "T = 1", ("wrong at T = 1 alone",)),
        Case(
            (numbers(6, 2), 3 * numbers(6, 2).flip(0), 5.0),
            "six rows of two logits, T = 5",
            ("T is fixed in the code: take the argument", SIZE),
        ),
        Case((numbers(3, 3), numbers(3, 3).T, 0.5), "T = 0.5", (SIZE,)),
        Case(
            (SHY, SURE, 2.0),
            "logits of several hundred",
            (
                "probabilities of almost 0 become 0, whose logarithm is -inf: use F.log_softmax, "
                "not softmax(...).log(), and not exp() alone",
            ),
            smooth=False,
        ),
        Case(
            (numbers(4, 3) + 7, numbers(4, 3), 3.0),
            "a student whose logits are the teacher's plus 7 (loss 0)",
            ("where both softmaxes are equal the loss should be 0",),
            smooth=False,
        ),
        Case(
            (
                torch.tensor([[0.0, 0]], dtype=torch.float64),
                torch.tensor([[2.0, 0]], dtype=torch.float64),
                2.0,
            ),
            "student logits [[0, 0]], teacher logits [[2, 0]], T = 2",
            (SIZE,),
        ),
    ],
    mistakes=distillation.WRONG_DISTILLATION,
    gradient_mistakes=distillation.WRONG_DISTILLATION_GRADIENTS,
    remark=(
        "Its gradient by a student's logit is T (q - p) / N: zero where the student gives each "
        "piece the teacher's probability, and not where it is sure of the right one."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: word pieces

LENGTH = "a piece may have any length, up to the whole word"
PLAIN = "a word that is whole in the vocabulary stays whole"
GREEDY = pieces.GREEDY


PIECES_TASK = Task(
    name="word_pieces",
    right=pieces.word_pieces,
    cases=[
        cut("snowman", ANIMALS),
        cut("snow", set(ANIMALS), "ask `piece in vocabulary`, which works for a dict and a set"),
        cut("man", ANIMALS, PLAIN),
        cut("s", ANIMALS, "a word of one letter goes wrong"),
        cut("mansnow", ANIMALS, pieces.WHOLE),
        cut("snowmen", ANIMALS, pieces.WHOLE),
        cut("Snowman", ANIMALS, "capital letters are other letters: take the word as it is"),
        cut("xsnow", ANIMALS, pieces.WHOLE),
        cut("abcd", TRAP, GREEDY),
        cut("abcde", TRAP, GREEDY),
        cut("abcd", DEAD_END, GREEDY),
        cut("abab", {"ab", "##ab", "##a", "##b", "a"}, pieces.SIGN),
        cut("bcbc", {"bc": 0, "b": 1, "##c": 2}, pieces.SIGN),
        cut("aaaaa", {"a": 3, "##aa": 1, "aaa": 7, "##a": 2, "##aaa": 4}, GREEDY),
        cut("waterfalls", LONG, LENGTH),
        cut("xwaterfall", LONG, LENGTH),
        cut("snow", {"snow"}, "a vocabulary may be smaller than the word is long"),
        cut("über", {"ü", "##b", "##er", "##e", "##r"}, "letters with accents are letters, too"),
        cut("water", {"wat": 5, "w": 0, "##er": 1, "##ater": 2, "##e": 3, "##r": 4}, GREEDY),
    ],
    mistakes=pieces.WRONG_PIECES,
    symptom=pieces.symptom,
    has_gradient=False,
    remark=(
        "Greedy is fast, and can fail where another cut would fit; with all letters in the "
        "vocabulary, as in BERT's, it never does."
    ),
    seconds=10,
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_attention(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Task 1: function(q, k, v, mask) -> output (B, ..., Lq, E), weights (B, ..., Lq, Lk)."""
    check(ATTENTION_TASK, function)


def check_masked_mean(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Task 2: function(states (B, L, D), mask (B, L)) -> (B, D)."""
    check(MEAN_TASK, function)


def check_distillation_loss(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Task 3: function(student_logits (N, V), teacher_logits (N, V), temperature) -> scalar."""
    check(DISTILLATION_TASK, function)


def check_word_pieces(function: Callable[[str, Any], Sequence[str]]) -> None:
    """Task 4: function(word, vocabulary) -> list of pieces."""
    check(PIECES_TASK, function)
