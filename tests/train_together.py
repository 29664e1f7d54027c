"""What each of several processes runs in training/test_distributed.py: the trainings of one.

    torchrun --nproc-per-node 2 tests/train_together.py FOLDER

Process 0 writes FOLDER/results.pt: for each case its losses, gradients, weights and figures.
"""

import contextlib
import sys
from pathlib import Path

import torch
from torch import nn

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.losses import EVERY_LOSS, LOSSES
from mmret_lib.losses.within import WithinBranches
from mmret_lib.training import TrainConfig, Trainer, validate
from mmret_lib.training.distributed import Processes
from mmret_lib.training.second_views import SecondViews

BASE = {"epochs": 1, "batch_size": 16, "device": "cpu", "clip": 0.0, "validate": False}
CASES: dict[str, tuple[str, dict]] = {
    **{name: (name, {}) for name in (*LOSSES, "siglip")},
    "in pieces": ("simclr", {"chunk_size": 2, "train": "projections"}),
    "crops": ("simclr", {"augment": "crop"}),
    "within": ("simclr", {"within": True}),
    "within, in pieces": ("simclr", {"within": True, "chunk_size": 2, "train": "projections"}),
}
# Four processes take long to start, and only these could differ from two: what is gathered from
# more than one other, a standardisation over all, gradients added up once for several pieces.
CASES_OF_FOUR = ("simclr", "barlow_twins", "in pieces", "within")
STEPS = 2


class Lost(Exception):
    """The session ends here."""


def trainer(
    world, name: str, changes: dict, folder: Path | None = None, within: bool = False
) -> Trainer:
    """In float64, so that what differs is not rounding; without dropout, which each draws anew."""
    torch.manual_seed(0)
    model = DualEncoder.from_names(
        image_weights=None,
        text_weights=None,
        captions=world.pairs.captions,
        standardise=name == "barlow_twins",
    ).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    settings = {"all_negatives_steps": 1} if name == "max_triplet" else {}
    loss: nn.Module = EVERY_LOSS[name](learnable=True, **settings).double()
    if within:
        loss = WithinBranches(loss, SecondViews(model, world))
    config = TrainConfig(**{**BASE, **changes})
    return Trainer(model, loss, world, config, validation=world, folder=folder, progress=False)


def run(world, name: str, changes: dict) -> dict:
    within = changes.get("within", False)
    changes = {name: value for name, value in changes.items() if name != "within"}
    one = trainer(world, name, changes, within=within)
    losses, gradients = [], []
    step = one.train_step

    def watched(batch):
        if len(losses) == STEPS:
            raise Lost
        losses.append(step(batch))
        named = [*one.model.named_parameters(), *one.loss.named_parameters()]
        gradients.append({key: p.grad.clone() for key, p in named if p.grad is not None})
        return losses[-1]

    one.train_step = watched
    with contextlib.suppress(Lost):
        one.fit()
    state = {**one.model.state_dict(), **one.loss.state_dict()}
    report = validate(one.model, world, processes=one.processes, allow_leak=True)
    return {"losses": losses, "gradients": gradients, "state": state, "figures": report.as_dict()}


def lost_and_resumed(world, folder: Path) -> dict:
    """The ends of a training with dropout that stops in mid-epoch and goes on, and of one whole."""

    def fit(where: Path, lose_at: int | None, resume: bool = False):
        one = trainer(world, "simclr", {"snapshot_minutes": 0.0, "validate": True}, where)
        for module in one.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.3
        step, done = one.train_step, []

        def losing(batch):
            if len(done) == lose_at:
                raise Lost
            done.append(1)
            return step(batch)

        one.train_step = losing
        return one.model.state_dict(), one.fit(resume=resume).rows[-1]

    whole = fit(folder / "whole", None)
    with contextlib.suppress(Lost):
        fit(folder / "lost", 2)
    return {"whole": whole, "lost": fit(folder / "lost", None, resume=True)}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    pairs = load_pairs("scenes", root=folder / "world", split="train", size=48, progress=False)
    world = pack(pairs, 64, progress=False)
    processes = Processes.join("cpu")
    cases = CASES_OF_FOUR if processes.count == 4 else CASES
    results: dict = {case: run(world, *CASES[case]) for case in cases}
    results["resumed"] = lost_and_resumed(world, folder)
    if processes.first:
        torch.save(results, folder / "results.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
