"""What exercise 07's `parameter_groups` is held to.

How many groups there are, and in which order, is the student's choice. So what they say is read
from an optimiser that is made of them: the rate and the decay of every single parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.symptoms import NOTHING, name_of
from mmret_lib.checks.loop.models import (
    heads_alone,
    one_backbone,
    partly_frozen,
    same_bits,
    two_branches,
)
from mmret_lib.checks.loop.rules import (
    WRONG_RULES,
    Parameter,
    Rule,
    Setting,
    parameters_of,
    right,
    together,
)

ParameterGroups = Callable[..., Any]
LR, BACKBONE_LR, DECAY = 0.02, 0.003, 0.05
UNSET = 77.0  # what the optimiser takes where a group says nothing


MODELS: dict[str, Callable[[], nn.Module]] = {
    "two branches": two_branches,
    "a model with its backbone at the top and a learned temperature": one_backbone,
    "two branches that share a weight, the image backbone frozen": partly_frozen,
    "two heads without a backbone": heads_alone,
}
CALLS = [(LR, BACKBONE_LR, DECAY), (0.1, 0.2, 0.3)]


def is_for_an_optimiser(function: ParameterGroups) -> str | None:
    """A list of dicts with params, lr and weight_decay; the model stays as it was."""
    for about, make in MODELS.items():
        model = make()
        before = {key: each.clone() for key, each in model.state_dict().items()}
        trains = [each.requires_grad for each in model.parameters()]
        try:
            groups = function(model, LR, BACKBONE_LR, DECAY)
        except AttributeError as error:
            return (
                f"for {about} it raised AttributeError: {error}. A model may have its backbones "
                "anywhere, or none: go through the names, model.named_parameters()"
            )
        except RuntimeError as error:
            if not any(words in str(error) for words in ("must match the size", "ambiguous")):
                raise
            return (
                f"for {about} it raised RuntimeError: {error}. Is it asked whether a parameter is "
                "`in` a list? That compares its numbers with those of each entry. Go by the name, "
                "or by id(parameter)"
            )
        if says := not_groups(groups):
            return says
        if says := not_its_own(groups, model):
            return f"for {about}, {says}"
        if [each.requires_grad for each in model.parameters()] != trains:
            return "requires_grad of the model's parameters is changed: what is frozen stays frozen"
        if not same_bits(before, dict(model.state_dict())) or not model.training:
            return "the model is changed: only look at its parameters"
    return None


def not_groups(groups: Any) -> str | None:
    """Say what is wrong with the kind of the result."""
    if groups is None:
        return NOTHING
    if isinstance(groups, torch.optim.Optimizer):
        return "an optimiser is returned: the list of groups is wanted, which makes one"
    if not isinstance(groups, list | tuple):
        return f"a {name_of(groups)} is returned: a list of groups is wanted, each a dict"
    return next(filter(None, map(not_a_group, groups)), None)


def not_a_group(group: Any) -> str | None:
    """Say what is wrong with one group."""
    if not isinstance(group, dict):
        return (
            f"a {name_of(group)} is in the list: each group is a dict, "
            "{'params': [...], 'lr': ..., 'weight_decay': ...}"
        )
    for key in ("params", "lr", "weight_decay"):
        if key not in group:
            return (
                f"a group has no {key!r}, so it takes the optimiser's default: each group says "
                "its params, lr and weight_decay"
            )
    if not isinstance(group["params"], list | tuple):
        return (
            f"params of a group is a {name_of(group['params'])}: a list of parameters is "
            "wanted (a generator, filter or zip can be read only once)"
        )
    for each in group["params"]:
        if isinstance(each, tuple) and len(each) == 2:
            return "pairs of name and parameter are in a group: the parameters alone are wanted"
        if not isinstance(each, Tensor):
            return f"a {name_of(each)} is in a group: the parameters themselves are wanted"
    return None


def not_its_own(groups: list[dict[str, Any]], model: nn.Module) -> str | None:
    """Say if a parameter is in two groups, or is none of the model's."""
    names = {id(each): name for name, each in model.named_parameters()}
    seen = set()
    for group in groups:
        for each in group["params"]:
            if id(each) not in names:
                return (
                    "a group holds a tensor that is no parameter of the model (a copy, .data or "
                    ".detach()?): an optimiser would train the copy. Take them from "
                    "model.named_parameters()"
                )
            if id(each) in seen:
                return (
                    f"{names[id(each)]} is grouped twice, and would be stepped twice: each "
                    "parameter is in one group, also one that two modules share"
                )
            seen.add(id(each))
    return None


def settings_of(groups: list[dict[str, Any]], model: nn.Module) -> dict[str, Setting | None]:
    """The rate and decay that an optimiser would use for each parameter, by name."""
    if not any(group["params"] for group in groups):
        return dict.fromkeys(name for name, _ in model.named_parameters())
    optimizer = torch.optim.AdamW([dict(each) for each in groups], UNSET, weight_decay=UNSET)
    found = {
        id(each): (float(group["lr"]), float(group["weight_decay"]))
        for group in optimizer.param_groups
        for each in group["params"]
    }
    return {name: found.get(id(each)) for name, each in model.named_parameters()}


def settings_are_right(function: ParameterGroups) -> str | None:
    """Every parameter has its own rate and decay."""
    calls = [(about, make, numbers) for about, make in MODELS.items() for numbers in CALLS]
    given, models = [], []
    for _, make, numbers in calls:
        model = make()
        models.append(parameters_of(model))
        given.append(settings_of(function(model, *numbers), model))

    def keeps(rule: Rule) -> bool:
        return all(
            settings[each.name] == rule(each, *numbers)
            for settings, model, (_, _, numbers) in zip(given, models, calls, strict=True)
            for each in model
        )

    if keeps(right):
        return None
    first = next(
        (about, each, settings[each.name], right(each, *numbers), numbers)
        for settings, model, (about, _, numbers) in zip(given, models, calls, strict=True)
        for each in model
        if settings[each.name] != right(each, *numbers)
    )
    where = seen(*first)
    for says, rule in WRONG_RULES.items():
        if keeps(rule):
            return f"probably {says}. {where}"
    if given[0] == given[1]:
        return (
            "the numbers in the groups do not depend on the arguments: use lr, backbone_lr and "
            f"weight_decay. {where}"
        )
    for (one, one_rule), (other, other_rule) in (
        (pair, another)
        for number, pair in enumerate(WRONG_RULES.items())
        for another in list(WRONG_RULES.items())[number + 1 :]
    ):
        if keeps(together(one_rule, other_rule)):
            return f"probably two things: {one}; and {other}. {where}"
    return f"a parameter is in the wrong group. {where}"


def seen(
    about: str, p: Parameter, given: Setting | None, wanted: Setting | None, numbers: Any
) -> str:
    """What was seen first, with its numbers."""
    shape = tuple(p.tensor.shape)
    named = "lr={}, backbone_lr={}, weight_decay={}".format(*numbers)
    start = f"For {about} and {named}, {p.name} {shape} should "
    if wanted is None:
        return start + "be in no group, because it is frozen"
    should = start + "have lr {:g} and weight_decay {:g}".format(*wanted)
    if given is None:
        return should + ", and is in no group"
    return should + ", and has lr {:g} and weight_decay {:g}".format(*given)


PROPERTIES = [is_for_an_optimiser, settings_are_right]
