"""The answers to exercise 13."""

from mmret_lib.checks import extensions

from . import extensions_naming, extensions_temperature, extensions_views

CHECKS = {
    "learnable_temperature": extensions.check_learnable_temperature,
    "within_branch": extensions.check_within_branch,
    "zero_shot": extensions.check_zero_shot,
}
RIGHT = {
    "learnable_temperature": extensions_temperature.RIGHT,
    "within_branch": extensions_views.RIGHT,
    "zero_shot": extensions_naming.RIGHT,
}
WRONG = {
    "learnable_temperature": extensions_temperature.WRONG,
    "within_branch": extensions_views.WRONG,
    "zero_shot": extensions_naming.WRONG,
}
DEFAULT = "1 is its default"
EQUIVALENT: dict[str, dict[str, str]] = {
    "within_branch": {
        "without dim= in `F.normalize(torch.cat([emb, other_view]), dim=1)`": DEFAULT,
        "-> [other_view, emb] in `[emb, other_view]`": (
            "the rows stand in another order, and the mean is taken over all of them"
        ),
        "emb -> other_view in `len(emb)`": "both have B rows",
    },
    "zero_shot": {
        "without dim= in `F.normalize(prompt_emb, dim=1)`": DEFAULT,
        "without dim= in `F.normalize(means, dim=1)`": DEFAULT,
        "without int in `int(owner.max())`": "range takes a tensor of one integer, too",
        "mean -> sum in `prompts[owner == c].mean(dim=0)`": (
            "a sum has the direction of the mean, and its length becomes 1, too"
        ),
    },
}
