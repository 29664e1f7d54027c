"""What exercise 00's `train_heads` is held to.

Its result depends on the initial values, which are the student's own draw, so there is no one right
answer to compare with. Where a training leads to from given initial values is settled, though:
with a learning rate of 0 the student's function returns its initial values, and from them the right
loop, and each likely mistake in it, is followed here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.symptoms import wrong_type
from mmret_lib.checks.search.loops import (
    DIM,
    SEED,
    WRONG_LOOPS,
    Recorder,
    TrainHeads,
    contrastive,
    features,
    follow,
)

# ---------------------------------------------------------------------------------------------
# The properties: each says what is wrong, or nothing


def two_matrices(function: TrainHeads) -> str | None:
    """Kind, shape, type and gradient of the result; what happens to arguments."""
    for dtype in (torch.float32, torch.float64):
        given = [each.to(dtype) for each in features(20, 12, 7, 1)]
        before = [each.clone() for each in given]
        found = function(*given, contrastive, 2, 0.05, SEED)
        for name, each, old in zip(("image_features", "text_features"), given, before, strict=True):
            if not torch.equal(each, old):
                return f"{name} is changed in place, but the caller still needs it"
            if each.requires_grad or each.grad is not None:
                return (
                    f"{name} records gradients after the call, which costs the caller memory and "
                    "time: only the two heads need requires_grad_()"
                )
        if says := wrong_pair(found, given):
            return says
        for name, head in zip(("image", "text"), found, strict=True):
            if says := wrong_head(name, head, dtype):
                return says
    return None


def wrong_head(name: str, head: Tensor, dtype: torch.dtype) -> str | None:
    """What is wrong with the type or the gradient of one head."""
    if head.dtype != dtype:
        wanted, got = (str(each).removeprefix("torch.") for each in (dtype, head.dtype))
        return (
            f"for features in {wanted} the {name} head is in {got}: bring the initial values into "
            f"the type of the features, start.to({name}_features)"
        )
    if head.requires_grad:
        return f"the {name} head still records gradients: return it detached, head.detach()"
    if not torch.isfinite(head).all():
        return f"the {name} head holds NaN or inf after two steps"
    return None


def wrong_pair(found: Any, given: list[Tensor]) -> str | None:
    """What is wrong with the kind and the shape of the result."""
    if isinstance(found, Tensor) or not isinstance(found, tuple | list):
        says = (
            "one tensor is returned" if isinstance(found, Tensor) else wrong_type(found, given[0])
        )
        return f"two matrices are wanted, `return image_head, text_head`, but {says}"
    if len(found) != 2:
        return f"two matrices are wanted, image head and text head, but {len(found)} things are"
    if any(isinstance(each, torch.nn.Module) for each in found):
        return "a module is returned: its matrix is wanted, linear.weight.T.detach()"
    if says := wrong_type(found[0], given[0]) or wrong_type(found[1], given[0]):
        return f"two matrices are wanted, but {says}"
    size = len(given[0])
    wanted = [(each.shape[1], DIM) for each in given]
    shapes = [tuple(each.shape) for each in found]
    if shapes == wanted:
        return None
    if shapes == wanted[::-1]:
        return "the two heads are swapped: the image head comes first"
    if shapes == [each[::-1] for each in wanted]:
        return (
            f"the heads have shape (128, D): (D, 128) is wanted, here {wanted[0]} and {wanted[1]}, "
            "so that features @ head is the embedding (nn.Linear keeps its weight transposed: .T)"
        )
    if shapes == [(size, DIM)] * 2:
        return "embeddings (N, 128) are returned: the heads that make them, (D, 128), are wanted"
    if shapes == [wanted[0]] * 2 or shapes == [wanted[1]] * 2:
        return "both heads have one D: each takes D from its own features, features.shape[1]"
    return (
        f"the heads have shapes {shapes[0]} and {shapes[1]}: {wanted[0]} and {wanted[1]} are "
        "wanted, (D, 128) each, D from its own features"
    )


def leaves_randomness_alone(function: TrainHeads) -> str | None:
    """The seed decides, and nothing else; nothing else is touched."""
    args = (*features(10, 5, 6, 2), contrastive, 1, 0.0)
    state = torch.get_rng_state()
    first = function(*args, SEED)
    same = torch.equal(state, torch.get_rng_state())
    torch.set_rng_state(state)
    if not same:
        return (
            "it draws from the global random state, or sets its seed (torch.manual_seed, "
            "torch.randn without generator=, nn.Linear), which changes what other code draws: make "
            "a generator of your own, torch.Generator().manual_seed(seed)"
        )
    if not close(function(*args, SEED), first):
        return "two calls with the same seed give two results: draw from a generator made anew"
    for place, name in enumerate(("image", "text")):
        if first[place].std() == 0:
            return (
                f"all initial values of the {name} head are equal: draw them at random, "
                "torch.randn(D, 128, generator=generator) / D ** 0.5"
            )
        if close(function(*args, SEED + 1)[place], first[place]):
            return (
                f"another seed gives the same initial values of the {name} head: use the argument, "
                "torch.Generator().manual_seed(seed)"
            )
    return None


def calls_the_loss(function: TrainHeads) -> str | None:
    """Once for each step, with the embeddings of all pairs."""
    given = features(20, 12, 7, 1)
    for steps in (1, 4):
        loss = Recorder()
        heads = function(*given, loss, steps, 0.0, SEED)
        shapes = {tuple(each.shape) for call in loss.calls for each in call}
        if not loss.calls:
            return (
                "the argument loss is never called: loss(image_emb, text_emb) is what to minimise"
            )
        if shapes != {(20, DIM)}:
            return (
                f"the loss gets tensors of shape {' and '.join(map(str, sorted(shapes)))}: the "
                "embeddings of all N pairs are wanted, (N, 128), in each step"
            )
        if len(loss.calls) != steps:
            return (
                f"the loss is called {len(loss.calls)} times in {steps} steps: one call for each "
                "step, for step in range(steps)"
            )
        wanted = tuple(each @ head for each, head in zip(given, heads, strict=True))
        if not close(heads, function(*given, contrastive, 3, 0.0, SEED)):
            return "with lr=0 the heads should stay where they began: is lr used, and only lr?"
        got = loss.calls[0]
        if close(got, wanted):
            continue
        if close(got, wanted[::-1]):
            return "the loss gets the texts first: loss(image_emb, text_emb)"
        if close(got, tuple(F.normalize(each, dim=1) for each in wanted)):
            return (
                "the embeddings are normalised before the loss gets them: hand them over as they "
                "are, image_features @ image_head; a loss that wants cosines normalises by itself"
            )
        return (
            "the loss does not get image_features @ image_head and text_features @ text_head, with "
            "the heads that are returned: is something added (a bias, a non-linear function), are "
            "the features changed first, or are the pairs in another order?"
        )
    return None


def begins_as_told(function: TrainHeads) -> str | None:
    """Initial values from a normal distribution of standard deviation 1 / sqrt(D)."""
    starts = function(*features(6, 60, 90, 3), contrastive, 1, 0.0, SEED)
    for name, start in zip(("image", "text"), starts, strict=True):
        size = len(start)
        spread, mean = float(start.std()) * size**0.5, float(start.mean()) * size**0.5
        if abs(spread - 1) > 0.05 or abs(mean) > 0.05:
            return (
                f"the initial values of the {name} head have mean {mean / size**0.5:.3f} and "
                f"standard deviation {spread / size**0.5:.3f}, for D = {size}: 0 and 1 / sqrt(D) = "
                f"{size**-0.5:.3f} are wanted, torch.randn(D, 128, generator=generator) / D ** 0.5"
            )
        if says := not_normal(name, start):
            return says
    first, second = function(*features(6, 40, 40, 4), contrastive, 1, 0.0, SEED)
    if close(first, second):
        return (
            "both heads have the same initial values where their D is the same: draw the second "
            "matrix from the same generator after the first, do not seed it again"
        )
    beside_more = function(*features(6, 60, 96, 3), contrastive, 1, 0.0, SEED)
    if not close(beside_more[0], starts[0]):
        return (
            "the initial values of the image head depend on the text features' D: is the text head "
            "drawn first? Draw the image head first, then the text head, from the same generator"
        )
    return None


def not_normal(name: str, start: Tensor) -> str | None:
    """Whether initial values of the right standard deviation have another distribution."""
    fourth = float((start / start.std()).pow(4).mean())  # 3 for a normal distribution
    if abs(fourth - 3) > 0.4:  # more than 7 standard deviations of it, for 60 rows
        return (
            f"the initial values of the {name} head have the right standard deviation, but are not "
            "normally distributed (uniform, clipped, or signs alone?): take torch.randn as it is"
        )
    if float(start.norm(dim=0).std()) < 0.02:  # 0.09 for a normal distribution and 60 rows
        return (
            f"all columns of the {name} head begin with the same length: leave out F.normalize, "
            "and divide by D ** 0.5 instead"
        )
    return None


def ends_where_it_should(function: TrainHeads) -> str | None:
    """From its own initial values the loop leads where Adam leads."""
    given = features(16, 9, 6, 5)
    trainings = [(1, 0.02), (5, 0.02), (12, 0.2)]
    starts = list(function(*given, contrastive, 1, 0.0, SEED))
    found = [function(*given, contrastive, steps, lr, SEED) for steps, lr in trainings]

    def leads_there(**wrong: Any) -> bool:
        return all(
            close(tuple(heads), follow(starts, *given, contrastive, steps, lr, **wrong))
            for heads, (steps, lr) in zip(found, trainings, strict=True)
        )

    if leads_there():
        return None
    if all(close(list(heads), starts) for heads in found):
        return (
            "the initial values are returned, nothing has moved: are backward() and "
            "optimiser.step() called, is zero_grad() called before backward() and not after it, "
            "and are the matrices that the optimiser has the very ones that are returned?"
        )
    for says, wrong in WRONG_LOOPS.items():
        if leads_there(**wrong):
            return f"probably {says}"
    for place, name in enumerate(("image", "text")):
        if all(close(heads[place], starts[place]) for heads in found):
            return f"the {name} head does not move: does the optimiser have it?"
    again = [function(*given, contrastive, steps, 3 * lr, SEED) for steps, lr in trainings]
    if close(again, found):
        return "lr counts for nothing: torch.optim.Adam([image_head, text_head], lr=lr)"
    early = all(
        close(tuple(heads), follow(starts, *given, contrastive, steps - 1, lr))
        for heads, (steps, lr) in zip(found, trainings, strict=True)
    )
    if early:
        return "the last step is missing: return the heads as they are after `steps` steps"
    return (
        "the heads do not end where Adam leads: each step is embeddings, loss, zero_grad, "
        "backward, step, on all pairs; torch.optim.Adam([image_head, text_head], lr=lr) is made "
        "once, before the loop, with no other options"
    )


def finds_pairs(function: TrainHeads) -> str | None:
    """Trained on some pairs, it ranks others better than chance does."""
    images, texts = features(120, 20, 15, 6)
    heads = function(images[:80], texts[:80], contrastive, 40, 0.02, SEED)
    ends = [
        F.normalize(f[80:] @ head, dim=1) for f, head in zip((images, texts), heads, strict=True)
    ]
    found = (ends[0] @ ends[1].T).argmax(dim=1) == torch.arange(40)
    if found.double().mean() < 0.25:  # chance is 0.025
        return (
            "trained on 80 pairs it finds few of 40 others: does each row of the images stay with "
            "its own row of the texts?"
        )
    return None


PROPERTIES = [
    two_matrices,
    leaves_randomness_alone,
    calls_the_loss,
    begins_as_told,
    ends_where_it_should,
    finds_pairs,
]
