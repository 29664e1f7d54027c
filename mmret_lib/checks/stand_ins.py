"""The library's parts that stand in for functions that are not in a student's `my_retrieval.py`.

`STAND_INS` has the parts that exercise 15 needs, by the names and with the arguments of the
exercises. The losses are those of `mmret_lib.losses`; most small functions are the formulas
that the checks compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.contrastive.losses import info_nce
from mmret_lib.checks.image.blocks import basic_block
from mmret_lib.checks.image.pools import global_pool
from mmret_lib.checks.loop.rates import rate
from mmret_lib.checks.pipeline.padding import pad
from mmret_lib.checks.ranking.bootstrap import bootstrap_interval
from mmret_lib.checks.ranking.counting import ranks
from mmret_lib.checks.ranking.recalls import recall_at_k
from mmret_lib.checks.search.best import top_k
from mmret_lib.checks.text.attention import attention
from mmret_lib.checks.text.pieces import word_pieces
from mmret_lib.checks.text.pooling import masked_mean
from mmret_lib.checks.triplet.semi_hard import semi_hard_triplet
from mmret_lib.files.whole import whole_file
from mmret_lib.losses import BarlowTwins, MaxTriplet, SimCLR, SumTriplet

__all__ = ["STAND_INS"]


def read_captions(annotations: dict[str, Any]) -> tuple[list[str], list[str], Tensor]:
    """Read the pictures of a caption file, its captions, and the picture of each caption."""
    texts: dict[Any, list[str]] = {image["id"]: [] for image in annotations["images"]}
    for record in annotations["annotations"]:
        if record["image_id"] not in texts:
            raise ValueError(f"caption {record['id']}: there is no image {record['image_id']}")
        texts[record["image_id"]].append(record["caption"])
    kept = [image for image in annotations["images"] if texts[image["id"]]]
    groups = [texts[image["id"]] for image in kept]
    owner = [place for place, group in enumerate(groups) for _ in group]
    captions = [caption for group in groups for caption in group]
    return [image["file_name"] for image in kept], captions, torch.tensor(owner, dtype=torch.int64)


def normalise(images_uint8: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn bytes (B, 3, H, W) into numbers with mean 0 and deviation 1 in each colour."""
    device = images_uint8.device
    shift, scale = (torch.tensor(each, device=device)[:, None, None] for each in (mean, std))
    return (images_uint8 / 255 - shift) / scale


def one_caption_each(owner: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one caption for each image: caption indices (images,)."""
    counts = torch.bincount(owner)
    share = torch.rand(len(counts), generator=generator)
    return counts.cumsum(0) - counts + (share * counts).long()


def batches(n: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Cut a random order of n indices into batches (batch_size,)."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n, generator=generator)
    return list(order[: n - n % batch_size].reshape(-1, batch_size))


def sum_triplet(image_emb: Tensor, text_emb: Tensor, margin: float = 0.2) -> Tensor:
    """Triplet loss of a batch, sum of hinges, a scalar."""
    loss: Tensor = SumTriplet(margin)(image_emb, text_emb)
    return loss


def max_triplet(image_emb: Tensor, text_emb: Tensor, margin: float = 0.2) -> Tensor:
    """Triplet loss of a batch, maximum of hinges, a scalar."""
    loss: Tensor = MaxTriplet(margin)(image_emb, text_emb)
    return loss


def simclr(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
    """Contrastive loss of a batch, the positive left out of the sum, a scalar."""
    loss: Tensor = SimCLR(temperature)(image_emb, text_emb)
    return loss


def barlow_twins(image_emb: Tensor, text_emb: Tensor, lambda_: float) -> Tensor:
    """The loss of Barlow Twins of a batch, a scalar."""
    loss: Tensor = BarlowTwins(lambda_)(image_emb, text_emb)
    return loss


def parameter_groups(
    model: nn.Module, lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Group what trains by its rate and its decay, for an optimiser."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = backbone_lr if "backbone" in name.split(".") else lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((own, decay), []).append(parameter)
    return [{"params": p, "lr": own, "weight_decay": d} for (own, d), p in groups.items()]


def train_step(
    image_head: nn.Module,
    text_head: nn.Module,
    batch: tuple[Tensor, Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    clip: float | None,
) -> Tensor:
    """Take one step along the clipped gradient of a batch; returns the loss before it."""
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    parameters = [*image_head.parameters(), *text_head.parameters()]
    length = nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
    if length.isfinite():
        optimizer.step()
    return value.detach()


def save_state(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    generator: torch.Generator,
) -> None:
    """Write the state of a training into one file, whole or not at all."""
    state: dict[str, Any] = {"step": step, "generator": generator.get_state()}
    state |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with whole_file(Path(path)) as file:
        torch.save(state, file)


def load_state(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    """Put the state of a training back; returns how many steps were done."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in (("model", model), ("optimizer", optimizer)):
        part.load_state_dict(state[name])
    generator.set_state(state["generator"])
    return int(state["step"])


def by_name(functions: Sequence[Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The functions, by their names."""
    return {function.__name__: function for function in functions}


STAND_INS: dict[str, Callable[..., Any]] = by_name(
    [
        top_k,
        read_captions,
        one_caption_each,
        pad,
        normalise,
        batches,
        basic_block,
        global_pool,
        attention,
        masked_mean,
        word_pieces,
        sum_triplet,
        max_triplet,
        semi_hard_triplet,
        simclr,
        info_nce,
        barlow_twins,
        rate,
        parameter_groups,
        train_step,
        save_state,
        load_state,
        ranks,
        recall_at_k,
        bootstrap_interval,
    ]
)
