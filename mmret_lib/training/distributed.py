"""Train one model in several processes, one per GPU.

    accelerate launch --multi_gpu --num_processes 8 -m mmret_lib.cli train --out RUN
    torchrun --nproc-per-node 2 -m mmret_lib.cli train --device cpu --out RUN

The first is for GPUs; a notebook calls `accelerate.notebook_launcher(train, num_processes=8)`.

Each process sends its share of the batch through the model; then all gather the embeddings, so
that every pair is compared with all negatives of the whole batch, and compute the same loss. Loss
and gradients are those of one process with the whole batch, and so are Barlow Twins' matrix, the
backbones' BatchNorm statistics and the masks of duplicates.

Accelerate starts the processes, and torch.distributed connects them. A process that trains alone
needs neither.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.training.devices import pick_device

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0; process 0 writes files and prints.
        count: how many there are.
        device: what this one computes on.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str = "auto") -> "Processes":
        """Join the other processes, if a launcher started any (WORLD_SIZE says so).

        Raises:
            DataError: a device that this machine does not have.
        """
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return cls(0, 1, pick_device(device))
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def all_gather(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all processes, with gradients.

        Args:
            rows: (b, ...), as many rows in every process.

        Returns:
            (count * b, ...), in the order of the ranks.
        """
        if self.count > 1:
            rows = AllGather.apply(rows, self)
        return rows

    def all_reduce(self, numbers: Tensor) -> Tensor:
        """Add up a tensor of one shape over all processes, in place and without gradients."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def broadcast(self, value: T) -> T:
        """Send the value that process 0 holds to all; returns it."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_gather_objects(self, value: T) -> list[T]:
        """Collect what every process holds, in the order of the ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def shard(self, rows: int) -> slice:
        """Choose this process's part of ``rows`` rows; the parts differ by one row at most."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def parallel(self, model: DualEncoder) -> nn.Module:
        """Wrap the model in `Branches`, and these so that all processes' gradients are averaged.

        The BatchNorms of ``model`` are replaced, in place, by ones that take their statistics
        over all processes. Names and values of its weights stay as they are.
        """
        if self.count == 1:
            return Branches(model)
        cuda = self.device.type == "cuda"
        for branch in (model.image, model.text):
            if cuda:
                nn.SyncBatchNorm.convert_sync_batchnorm(branch)
            else:
                _replace_batch_norms(branch)
        return nn.parallel.DistributedDataParallel(
            Branches(model), device_ids=[self.device] if cuda else None
        )


class Branches(nn.Module):
    """Both branches without the standardisation that may end them, which needs the whole batch."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, tokens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed images (b, 3, H, W) and tokens (b, L): (b, dim) of each."""
        return self.model.image(images), self.model.text(**tokens)


def without_all_reduce(branches: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which `backward` does not average the gradients of all processes yet."""
    if isinstance(branches, nn.parallel.DistributedDataParallel):
        return branches.no_sync()
    return nullcontext()


class AllGather(torch.autograd.Function):
    """The rows of all processes; back to each goes the gradient of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        """(b, ...) to (count * b, ...)."""
        ctx.mine = slice(processes.rank * len(rows), (processes.rank + 1) * len(rows))
        ctx.count = processes.count
        parts = [torch.empty_like(rows) for _ in range(processes.count)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """(count * b, ...) to (b, ...)."""
        # Every process takes the loss of the whole batch, so the gradients that the others hold for
        # these rows equal this one: their sum is `count` times it, and needs no communication.
        # DistributedDataParallel then divides by `count`.
        return grad[ctx.mine] * ctx.count, None


class AllReduce(torch.autograd.Function):
    """Sum a tensor over all processes; its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        """A tensor of one shape in every process to their sum."""
        total = numbers.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The sum of all processes' gradients."""
        total: Tensor = AllReduce.apply(grad)
        return total


class JoinedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over a batch of which each process holds a part of equal size.

    torch's SyncBatchNorm does this on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (b, C, H, W) by the statistics of all processes' parts."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        channels = (1, -1, 1, 1)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = AllReduce.apply(input.sum((0, 2, 3))) / count  # (C,)
        centred = input - mean.view(channels)
        var = AllReduce.apply(centred.square().sum((0, 2, 3))) / count  # (C,)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(var * count / (count - 1), self.momentum or 0.0)
        scale = self.weight * (var + self.eps).rsqrt()  # (C,)
        output: Tensor = centred * scale.view(channels) + self.bias.view(channels)
        return output


def _replace_batch_norms(module: nn.Module) -> None:
    """Put a `JoinedBatchNorm2d` in the place of every BatchNorm2d inside ``module``."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            joined = JoinedBatchNorm2d(child.num_features, child.eps, child.momentum or 0.0)
            joined.to(child.weight).load_state_dict(child.state_dict())
            # The same parameter objects: an optimiser, or train_only, may refer to them already.
            joined.weight, joined.bias = child.weight, child.bias
            joined.train(child.training)
            setattr(module, name, joined)
        else:
            _replace_batch_norms(child)
