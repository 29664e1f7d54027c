"""The training loop: the same call on a laptop's CPU and on a GPU.

    trainer = Trainer(model, SimCLR(), pairs, TrainConfig(epochs=8), validation=val_pairs)
    history = trainer.fit()

A step is: gather a batch, move it to the device, augment it there, embed both branches, take the
loss, step. Mixed precision follows from what the device can do.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mmret_lib.data.loader import AUGMENTATIONS, Batch, Loader
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.errors import DataError
from mmret_lib.metrics import Report, evaluate
from mmret_lib.train_config import EPOCHS, FEWEST_STEPS, TrainConfig

__all__ = [
    "History", "TrainConfig", "Trainer", "pick_device", "pick_precision", "validate",
]  # fmt: skip


@dataclass
class History:
    """One row per epoch: epoch (from 1), loss (mean), lr, seconds, and the validation figures."""

    rows: list[dict[str, float]] = field(default_factory=list)
    training_seconds: float = 0.0  # validation not counted
    waiting_seconds: float = 0.0  # of these, spent waiting for data

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


class Trainer:
    """Trains a model on pairs with a loss.

    Args:
        model: trained in place; moved to the configured device.
        loss: called as ``loss(image_emb, text_emb, image_ids=…, caption_ids=…)``.
        pairs: training pairs, packed here unless they are already.
        config: the knobs.
        validation: pairs to measure recall on after each epoch.
        progress: show progress bars.

    Raises:
        DataError: a device that is not there, fewer images than a batch, unreadable images.
    """

    def __init__(
        self,
        model: DualEncoder,
        loss: nn.Module,
        pairs: Pairs | Store,
        config: TrainConfig | None = None,
        *,
        validation: Pairs | Store | None = None,
        progress: bool = True,
    ):
        config = config or TrainConfig()
        self.device = pick_device(config.device)
        self.dtype = pick_precision(config.precision, self.device)
        self.model, self.loss = model.to(self.device), loss.to(self.device)
        size = model.image.image_size
        data = pack(pairs, size, progress=progress)
        self.validation = (
            pack(validation, size, progress=progress) if validation is not None else None
        )
        if len(data.pairs) < config.batch_size:
            raise DataError(
                f"{data.pairs.name or 'the data set'} has {len(data.pairs)} images, fewer than a "
                f"batch of {config.batch_size}; choose a smaller batch_size"
            )
        if config.epochs is None:
            config = replace(config, epochs=enough_epochs(len(data.pairs), config.batch_size))
        self.config = config
        self.loader = Loader(
            data, data.words(model.text), config.batch_size, captions=config.captions,
            seed=config.seed, pin_memory=self.device.type == "cuda",
        )  # fmt: skip
        self.progress = progress
        model.train_only(config.train)
        groups = model.parameter_groups(
            config.backbone_lr, config.projection_lr, config.weight_decay
        )
        if own := [p for p in loss.parameters() if p.requires_grad]:
            groups.append({"params": own, "lr": config.projection_lr, "weight_decay": 0.0})
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: rate_factor(step, config, len(self.loader))
        )
        # float16 has too few exponents for small gradients; the other types do without scaling.
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.dtype == torch.float16 and self.device.type == "cuda"
        )

    def fit(self) -> History:
        """Train for all epochs.

        Raises:
            FloatingPointError: the loss stopped being finite (names epoch and step).
        """
        config, history = self.config, History()
        epochs = config.epochs or 0  # filled in by __init__
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        bar = tqdm(
            total=epochs * len(self.loader), unit="step", disable=not self.progress,
            desc=type(self.loss).__name__,
        )  # fmt: skip
        with bar:
            for epoch in range(epochs):
                started, losses = time.perf_counter(), []
                self.model.train()
                self.loss.train()
                for step, batch in enumerate(_timed(self.loader.epoch(epoch), history)):
                    batch = batch.to(self.device)
                    images = batch.images
                    if config.augment != "none":
                        images = AUGMENTATIONS[config.augment](images, generator)
                    with self._autocast():
                        image_emb, text_emb = self.model(images, batch.tokens)  # both (B, D)
                    loss = self._loss_of(image_emb, text_emb, batch, epoch, step)
                    self._step(loss)
                    losses.append(loss.detach())
                    bar.update()
                mean_loss = torch.stack(losses).mean().item()
                seconds = time.perf_counter() - started
                history.training_seconds += seconds
                row = {
                    "epoch": epoch + 1,
                    "loss": mean_loss,
                    "lr": self._rate(),
                    "seconds": seconds,
                }
                if self.validation is not None and config.validate:
                    report = validate(self.model, self.validation)
                    row |= {name: value for name, value in report.as_dict().items() if "2" in name}
                    bar.set_postfix(loss=f"{mean_loss:.3f}", t2i_r1=f"{row['t2i_r1']:.1f}")
                else:
                    bar.set_postfix(loss=f"{mean_loss:.3f}")
                history.rows.append(row)
        self.model.eval()
        return history

    def _loss_of(self, image_emb: Tensor, text_emb: Tensor, batch, epoch: int, step: int) -> Tensor:
        where = f"epoch {epoch + 1}, step {step + 1} of {len(self.loader)}"
        try:
            loss = self.loss(
                image_emb, text_emb, image_ids=batch.image_ids, caption_ids=batch.caption_ids
            )
        except ValueError as error:
            raise FloatingPointError(f"{where}: {error}. Try a lower learning rate.") from error
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"{where}: the loss is {loss.item()}. Try a lower learning rate."
            )
        return loss

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _rate(self) -> float:
        return float(self.schedule.get_last_lr()[-1])


def _timed(batches: Iterator[Batch], history: History) -> Iterator[Batch]:
    """The batches, the time that they were waited for added to the history."""
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        history.waiting_seconds += time.perf_counter() - asked
        if batch is None:
            return
        yield batch


def enough_epochs(images: int, batch_size: int) -> int:
    """7, or on a small data set as many as make 430 steps."""
    return max(EPOCHS, math.ceil(FEWEST_STEPS / max(1, images // batch_size)))


def rate_factor(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """What the peak rates are multiplied by at ``step`` (from 0)."""
    assert config.epochs is not None  # the trainer fills it in
    total = config.epochs * steps_per_epoch
    rising = min(1.0, (step + 1) / (config.warmup * total)) if config.warmup else 1.0
    if config.schedule == "cosine":
        begin = config.warmup * total
        progress = max(0.0, step - begin) / max(1.0, total - begin)
        return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    if config.schedule == "multistep":
        passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
        return rising * config.gamma**passed
    return rising


def validate(model: DualEncoder, data: Store, **options) -> Report:
    """Embed a split and rank it; ``options`` go to `evaluate`."""
    image_emb = model.encode_images(data)
    text_emb = model.encode_texts(data.pairs.captions)
    return evaluate(image_emb, text_emb, data.pairs.owner, **options)


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" takes the GPU if there is one.

    Raises:
        DataError: a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"device {name!r} is not to be had here ({error}); try auto") from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """ "auto" by what the hardware does itself: a Tesla T4 says it has bfloat16 but emulates it."""
    if name != "auto":
        return getattr(torch, name)
    if device.type != "cuda":
        return torch.float32
    recent = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if recent else torch.float16
