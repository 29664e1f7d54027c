"""What exercise 07's `train_step` is held to.

Where a step leads to is settled by heads, batch, loss and optimiser: the right step, and each
likely mistake in it, is followed beside the student's, from the same heads.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.symptoms import NOTHING, name_of
from mmret_lib.checks.loop.bad_batches import steps_over_what_is_not_finite
from mmret_lib.checks.loop.settings import (
    ADAM,
    FROZEN,
    SETTINGS,
    SGD,
    TOLERANCE,
    Setting,
    TrainStep,
    apart,
    batches,
)
from mmret_lib.checks.loop.steps import WRONG_STEPS, train_step

# ---------------------------------------------------------------------------------------------
# The properties: each says what is wrong, or nothing


def returns_the_loss(function: TrainStep) -> str | None:
    """The loss of the batch before the step, a scalar without a graph."""
    for dtype in (torch.float32, torch.float64):
        setting = Setting("", SGD, 1.5, dtype=dtype)
        heads, optimizer = setting.start()
        images, texts = (each.to(dtype) for each in batches(1)[0])
        before = images.clone(), texts.clone()
        try:
            value = function(heads[0], heads[1], (images, texts), apart, optimizer, 1.5)
        except RuntimeError as error:
            if "shapes cannot be multiplied" in str(error):
                return (
                    f"it raised RuntimeError: {error}. Does each head get its own side? batch is "
                    "(images, texts), and the image head takes the images"
                )
            if "does not require grad" not in str(error):
                raise
            return (
                "backward() finds nothing to differentiate: are both embeddings detached, or "
                "computed under torch.no_grad()?"
            )
        for name, each, old in zip(("images", "texts"), (images, texts), before, strict=True):
            if not torch.equal(each, old) or each.requires_grad:
                return f"the {name} of the batch are changed: the next epoch needs them as they are"
        if says := not_the_loss(value, dtype):
            return says
    return None


def not_the_loss(value: Any, dtype: torch.dtype) -> str | None:
    """Say what is wrong with the kind of the result."""
    if value is None:
        return NOTHING
    if isinstance(value, tuple | list):
        return f"{len(value)} results are returned: the loss alone is wanted"
    if isinstance(value, bool | int | float):
        return (
            "a Python number is returned (.item() or float()), and asking for it makes a GPU "
            "wait: return the tensor without its graph, value.detach()"
        )
    if not isinstance(value, Tensor):
        return f"a {name_of(value)} is returned: the loss is wanted, a tensor"
    if value.shape != ():
        return f"the result has shape {tuple(value.shape)}: the loss is one number, shape ()"
    if value.requires_grad:
        return (
            "the returned loss still carries its graph: whoever keeps the losses of an epoch "
            "would keep all activations with them. Return value.detach()"
        )
    if value.dtype != dtype:
        kinds = [str(each).removeprefix("torch.") for each in (dtype, value.dtype)]
        return f"for features in {kinds[0]} the loss is in {kinds[1]}: a dtype is fixed"
    return None


def takes_no_clip(function: TrainStep) -> str | None:
    """Where clip is None nothing is clipped."""
    heads, optimizer = SETTINGS[0].start()
    try:
        function(heads[0], heads[1], batches(1)[0], apart, optimizer, None)
    except TypeError as error:
        return f"where clip is None nothing is clipped, but it raised TypeError: {error}"
    return None


class Counting:
    """A loss that counts its calls."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.calls = 0

    def __call__(self, image_emb: Tensor, text_emb: Tensor) -> Tensor:
        """The loss of one batch."""
        self.calls += 1
        return apart(image_emb, text_emb)


def calls_each_once(function: TrainStep) -> str | None:
    """Both heads and the loss are called once; modes stay as they are."""
    heads, optimizer = SETTINGS[0].start()
    heads[1].eval()
    calls = [0, 0]
    for place in (0, 1):

        def count(*_: Any, place: int = place) -> None:
            calls[place] += 1

        heads[place].register_forward_hook(count)
    loss = Counting()
    function(heads[0], heads[1], batches(1)[0], loss, optimizer, None)
    if [head.training for head in heads] != [True, False]:
        return (
            "the heads are switched between training and evaluation: leave that to the caller, who "
            "may have frozen one of them"
        )
    if loss.calls == 0:
        return "the argument loss is never called: loss(image_emb, text_emb) is what to minimise"
    for name, number in zip(("the image head", "the text head"), calls, strict=True):
        if number == 0:
            return (
                f"{name} is not called as a module: {name.split()[1]}_head(features) runs all of "
                "it, whatever layers it has"
            )
        if number > 1:
            return (
                f"{name} is called {number} times in a step: one forward pass is enough, and each "
                "one moves the running averages of a batch norm"
            )
    if loss.calls > 1:
        return f"the loss is called {loss.calls} times in a step: once, before the step"
    return None


def leads_where_it_should(function: TrainStep) -> str | None:
    """From the same heads to the same heads, step by step."""
    paths = [setting.follow(function) for setting in SETTINGS]

    def leads_there(**wrong: Any) -> bool:
        return all(
            close(path, setting.follow(partial(train_step, **wrong)), TOLERANCE)
            for path, setting in zip(paths, SETTINGS, strict=True)
        )

    if leads_there():
        return None
    for says, wrong in WRONG_STEPS.items():
        if leads_there(**wrong):
            return f"probably {says}"
    right = [setting.follow(train_step) for setting in SETTINGS]
    values = [
        close(path[0::2], good[0::2], TOLERANCE) for path, good in zip(paths, right, strict=True)
    ]
    moves = [
        close(path[1::2], good[1::2], TOLERANCE) for path, good in zip(paths, right, strict=True)
    ]
    if all(moves):
        return f"the heads move as they should, but {wrong_result(paths, right)}"
    where = SETTINGS[moves.index(False)].about
    if moves[0] and moves[2]:
        wanted = "min(1, clip / length), length over the gradients of both heads"
        return (
            f"without clipping the steps are right, with it they are not (for {where}): between "
            f"backward() and step() every gradient is multiplied by {wanted}"
        )
    if moves == [setting.clip is not None for setting in SETTINGS]:
        return (
            f"where clip is None the steps are wrong (for {where}): nothing is clipped then, and "
            "the step is taken all the same"
        )
    first = "the loss is right, " if all(value for value in values) else ""
    return (
        f"{first}the heads do not end where the steps should lead (for {where}): a step is "
        "embeddings, loss, zero_grad, backward, clipping, optimizer.step(), each once"
    )


def trains_beside_a_frozen_head(function: TrainStep) -> str | None:
    """A head that does not train has no gradients, and the other one trains all the same."""
    frozen = "a frozen parameter has no gradient, its .grad is None: leave it out of the length"
    for setting in FROZEN:
        try:
            path = setting.follow(function)
        except (TypeError, AttributeError, RuntimeError) as error:
            return (
                f"for {setting.about} it raised {type(error).__name__}: {error}. Perhaps {frozen}"
            )
        if not close(path, setting.follow(train_step), TOLERANCE):
            return (
                f"with both heads in training the steps are right, but not for {setting.about}: "
                + frozen
            )
    return None


def survives_a_gradient_of_zero(function: TrainStep) -> str | None:
    """A loss that has nothing left to teach has a gradient of length 0, which clip divides by."""
    for setting in (Setting("", SGD, 0.5), Setting("", ADAM, 0.5)):
        ends = []
        for step in (function, train_step):
            heads, optimizer = setting.start()
            step(heads[0], heads[1], batches(1)[0], nothing_to_learn, optimizer, setting.clip)
            ends.append(list(heads.state_dict().values()))
        if not close(ends[0], ends[1], TOLERANCE):
            spoilt = not all(each.isfinite().all() for each in ends[0])
            return (
                "where the gradient is 0 everywhere (a triplet loss within its margins) the "
                f"weights {'become NaN' if spoilt else 'end elsewhere'}: its length is 0 and "
                "finite, so it is an ordinary step, and the factor is (clip / length).clamp(max=1)"
            )
    return None


def nothing_to_learn(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """A loss whose gradient is 0."""
    return (image_emb.sum() + text_emb.sum()) * 0


def wrong_result(paths: list[Any], right: list[Any]) -> str:
    """Say which other number is returned than the loss."""
    for result, says in (
        ("after", "the loss after the step is returned: return the one that backward() had"),
        ("length", "the length of the gradient is returned: return the loss"),
    ):
        others = [setting.follow(partial(train_step, result=result)) for setting in SETTINGS]
        if close([path[0] for path in paths], [other[0] for other in others], TOLERANCE):
            return says
    given, wanted = float(paths[0][0]), float(right[0][0])
    return (
        f"what is returned is not the loss of the batch: for {SETTINGS[0].about} it should be "
        f"{wanted:.4f} and is {given:.4f}"
    )


PROPERTIES = [
    returns_the_loss,
    takes_no_clip,
    calls_each_once,
    leads_where_it_should,
    trains_beside_a_frozen_head,
    survives_a_gradient_of_zero,
    steps_over_what_is_not_finite,
]
