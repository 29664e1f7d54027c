"""The state of a training: its progress, and everything that the next step depends on."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.saved import split_frozen
from mmret_lib.encoders.weights import digest_of
from mmret_lib.training.distributed import Processes
from mmret_lib.training.history import History


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: epochs that are done.
        step: steps of the next epoch that are done.
        losses: of these steps, scalars.
        seconds: that these steps took.
        history: of the epochs that are done.
        best_epoch: the one with the best validation figures, from 1; 0 if none was measured.
        best_rsum: sum of the recalls of that epoch.
        saved_epoch: the one whose model the folder holds as the best; not `best_epoch` if that one
            could not be saved.
    """

    epoch: int = 0
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    history: History = field(default_factory=History)
    best_epoch: int = 0
    best_rsum: float = -1.0
    saved_epoch: int = 0


@dataclass
class TrainingState:
    """Everything that a step changes, which `capture` saves and `restore` puts back.

    Backbones that are frozen are left out: a training that is resumed begins with them. Those with
    random weights are not, because from one seed these differ in their last bits between
    processors.

    Attributes:
        generator: the random numbers of the augmentation; dropout draws from torch's own.
    """

    model: DualEncoder
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    generator: torch.Generator
    processes: Processes

    def weights(self) -> dict[str, Tensor]:
        """Return the weights and statistics of the model without the ones left out."""
        return split_frozen(self.model.state_dict(), self._left_out)[0]

    def put_weights(self, weights: dict[str, Tensor]) -> None:
        """Put back what `weights` returned, or the weights of the whole model."""
        _, frozen = split_frozen(self.model.state_dict(), self._left_out)
        self.model.load_state_dict({**frozen, **weights})

    @cached_property
    def frozen(self) -> str | None:
        """The digest of the weights left out, or None if none are."""
        _, frozen = split_frozen(self.model.state_dict(), self._left_out)
        return digest_of(frozen) if frozen else None

    @cached_property
    def _left_out(self) -> list[str]:
        random = self.model.random_backbones()
        return [name for name in self.model.frozen_backbones() if name not in random]

    def capture(self, progress: Progress) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Collect the tensors by name, and the rest as JSON can hold it.

        All processes must call this together: each adds the state of its random numbers.
        """
        optimizer = self.optimizer.state_dict()
        tensors = {f"model.{name}": value for name, value in self.weights().items()}
        tensors |= {f"loss.{name}": value for name, value in self.loss.state_dict().items()}
        for number, entries in optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in entries.items()}
        tensors["random.augmentation"] = self.generator.get_state()
        for rank, states in enumerate(self.processes.all_gather_objects(self._random_states())):
            tensors |= {f"random.{rank}.{name}": state for name, state in states.items()}
        if progress.losses:
            tensors["losses"] = torch.stack(progress.losses)
        return tensors, {
            "epoch": progress.epoch,
            "steps": progress.step,
            "seconds": progress.seconds,
            "history": asdict(progress.history),
            "best": [progress.best_epoch, progress.best_rsum],
            "saved_epoch": progress.saved_epoch,
            "frozen": self.frozen,
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> Progress:
        """Put what `capture` returned back in place; returns the progress it was captured at."""

        def part(prefix: str) -> dict[str, Tensor]:
            names = [name for name in tensors if name.startswith(prefix)]
            return {name.removeprefix(prefix): tensors[name] for name in names}

        self.put_weights(part("model."))
        self.loss.load_state_dict(part("loss."))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            number, _, name = key.partition(".")
            if value.ndim:  # laid out like its parameter: the fused step walks both side by side
                value = torch.empty_like(parameters[int(number)]).copy_(value)
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": values["groups"]})
        self.schedule.load_state_dict(values["schedule"])
        self.scaler.load_state_dict(values["scaler"])
        self.generator.set_state(tensors["random.augmentation"])
        # With more processes than before, the new ones keep the states that `fit` gave them.
        random_states = part(f"random.{self.processes.rank}.")
        device = self.processes.device
        if "cpu" in random_states:
            torch.set_rng_state(random_states["cpu"])
        if device.type == "cuda" and "cuda" in random_states:
            torch.cuda.set_rng_state(random_states["cuda"], device)
        best_epoch, best_rsum = values["best"]
        losses = list(tensors["losses"].to(device)) if "losses" in tensors else []
        return Progress(
            values["epoch"],
            values["steps"],
            losses,
            values["seconds"],
            History(**values["history"]),
            best_epoch,
            best_rsum,
            # Older snapshots do not say whether the best model could be saved: nearly always.
            values.get("saved_epoch", best_epoch),
        )

    def _random_states(self) -> dict[str, Tensor]:
        """The states of the generators that dropout draws from, in this process."""
        states = {"cpu": torch.get_rng_state()}
        if self.processes.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.processes.device)
        return states
