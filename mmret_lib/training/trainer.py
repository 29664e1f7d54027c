"""The training loop: the same call on a laptop's CPU and on a GPU.

    trainer = Trainer(model, SimCLR(), pairs, TrainConfig(), validation=val_pairs, folder="run")
    history = trainer.fit(resume=True)

A step is: gather a batch, move it to the device, augment it there, embed both branches, take the
loss, step. Mixed precision follows from what the device can do. Given a folder, training keeps
snapshots there; run again after a lost session, the same two lines continue at the same step.
Started as several processes (see `distributed`), the same two lines train one model in all of them.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.features import Features
from mmret_lib.data.loader import Batch, Loader
from mmret_lib.data.pairs import Pairs, need_captions
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import data_for, refuse_trained
from mmret_lib.files.errors import DataError
from mmret_lib.files.output import say
from mmret_lib.files.places import user_path
from mmret_lib.metrics.report import Report
from mmret_lib.training.checkpoints import Checkpoints
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.devices import pick_precision
from mmret_lib.training.diagnosis import LastBatch, diagnose_epoch
from mmret_lib.training.distributed import Processes
from mmret_lib.training.grad_cache import cached_backward
from mmret_lib.training.history import History, summary_writer
from mmret_lib.training.identity import training_identity
from mmret_lib.training.leak import find_leak, note_trained_on
from mmret_lib.training.recipes import with_rates
from mmret_lib.training.schedule import fill_in_budget, rate_factor
from mmret_lib.training.state import Progress, TrainingState
from mmret_lib.training.validation import validate


class Trainer:
    """Trains a model on pairs with a loss.

    Args:
        model: trained in place; moved to the configured device.
        loss: called as ``loss(image_emb, text_emb, image_ids=…, caption_ids=…)``.
        pairs: training pairs, packed here unless they are already; or their kept features
            (`encoders.features.keep_features`), for backbones that stay frozen.
        config: how to train.
        validation: pairs to measure recall on after each epoch.
        folder: where to keep snapshots and the best model (``folder/snapshots``, ``folder/best``);
            without one nothing is kept and nothing can be resumed.
        keep: a second folder, such as one of a mounted Drive, that gets a copy of the newest
            snapshot now and then, the more seldom the larger it is (see `keep`). When the first
            folder is lost with the session, `fit(resume=True)` goes on from there.
        on_epoch: called with the history after each epoch, such as `show.training.LiveCurve()`.
        progress: show progress bars.

    Attributes:
        config: with the number of epochs, the patience, the learning rates, the device and the
            precision filled in.
        identity: tells this training from others; see `training_identity`.

    Raises:
        DataError: a device that is not there, fewer images than a batch, unreadable images, images
            without captions.
    """

    def __init__(
        self,
        model: DualEncoder,
        loss: nn.Module,
        pairs: Pairs | Store | Features,
        config: TrainConfig | None = None,
        *,
        validation: Pairs | Store | Features | None = None,
        folder: str | Path | None = None,
        keep: str | Path | None = None,
        on_epoch: Callable[[History], object] | None = None,
        progress: bool = True,
    ) -> None:
        config = config or TrainConfig()
        self.processes = Processes.join(config.device)
        self.device = self.processes.device
        self.dtype = pick_precision(config.precision, self.device)
        self.autocast = partial(
            torch.autocast, self.device.type, self.dtype, enabled=self.dtype != torch.float32
        )
        self.progress = progress and self.processes.first
        self.on_epoch = on_epoch
        need_captions(pairs.owner, "training")
        if validation is not None:
            need_captions(validation.owner, "validation")
        model.train_only(config.train, config.train_image, config.train_text)
        data = data_for(model, pairs, progress=self.progress)
        self.validation = (
            data_for(model, validation, progress=self.progress) if validation is not None else None
        )
        self.folder = user_path(folder) if folder is not None else None
        if config.tensorboard:
            summary_writer()  # if it is missing, better now than after an epoch
        share = _batch_share(data, config, self.processes.count)
        self.one_thread = False
        if isinstance(data, Features):
            refuse_trained(model, data)
            augment: Any = data.augment or config.augment
            config = replace(config, augment=augment)
            self.one_thread = data.text is not None and data.augment is not None
        config = fill_in_budget(
            config,
            len(data),
            backbones=model.trains_backbones,
            validated=validation is not None,
        )
        config = with_rates(config, model)
        self.identity = training_identity(model, loss, data, config, self.validation)
        precision: Any = str(self.dtype).removeprefix("torch.")
        self.config = replace(config, device=str(self.device), precision=precision)

        self.model, self.loss = model.to(self.device), loss.to(self.device)
        self.loader = Loader(
            data,
            data.token_ids(model.text) if data.text is None else None,
            share,
            captions=config.captions,
            seed=config.seed,
            rank=self.processes.rank,
            world_size=self.processes.count,
            pin_memory=self.device.type == "cuda",
        )
        groups = model.parameter_groups(
            config.backbone_lr,
            config.projection_lr,
            config.weight_decay,
            config.image_lr,
            config.text_lr,
        )
        if of_loss := [p for p in loss.parameters() if p.requires_grad]:
            groups.append({"params": of_loss, "lr": config.projection_lr, "weight_decay": 0.0})
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: rate_factor(step, config, len(self.loader))
        )
        # Small gradients underflow in float16; the other types need no scaling.
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.dtype == torch.float16 and self.device.type == "cuda"
        )
        self.generator = torch.Generator()  # of the augmentation, the same on every device
        state = TrainingState(
            model, loss, self.optimizer, self.schedule, self.scaler, self.generator, self.processes
        )
        self.checkpoints = Checkpoints(self.folder, state, self.identity, keep)
        self.last_batch: LastBatch | None = None  # of which the embeddings are looked at
        self.warned: set[str] = set()  # what is found again is not said again
        self.branches = self.processes.parallel(model)
        if config.compile:
            self.branches.compile()

    def fit(self, *, resume: bool = False) -> History:
        """Train for all epochs, or until the validation figures no longer get better.

        With `patience`, the model is that of the best epoch at the end, else that of the last one;
        `History.model_epoch` says which. What a loss has learnt is always the last epoch's.

        Args:
            resume: continue from the newest snapshot in the folder, or start if there is none. On
                a CPU the weights at the end equal those of an uninterrupted training bit for bit;
                on a GPU, or with more than two processes, sums may be rounded differently.

        Raises:
            FloatingPointError: the loss stopped being finite (names epoch, step and images).
            DataError: no memory for the batch; a second `fit` of one trainer; a snapshot of
                another training, or one that would be overwritten, or none that can be read.
        """
        epochs = self.config.epochs or 0  # filled in by __init__
        torch.manual_seed(self.config.seed + self.processes.rank)
        self.generator.manual_seed(self.config.seed)
        now = self.checkpoints.begin(resume)
        note_trained_on(self.model, self.loader.store)
        if self.validation is not None and self.processes.first:
            leak = find_leak(self.model, self.validation, "validation")
            if leak.count:
                about = "recall on them says little about others"
                warnings.warn(f"{leak.text}: {about}", stacklevel=2)
        bar = tqdm(
            total=epochs * len(self.loader),
            initial=now.epoch * len(self.loader) + now.step,
            unit="step",
            disable=not self.progress,
            desc=type(self.loss).__name__,
        )
        with bar, _threads(1 if self.one_thread else None):
            while now.epoch < epochs and not self._out_of_patience(now):
                self._train_epoch(now, bar)
                row = self._close_epoch(now)
                bar.set_postfix({n: f"{row[n]:.2f}" for n in ("loss", "t2i_r1") if n in row})
                self._save(now)
                if self.on_epoch and self.processes.first:
                    self.on_epoch(now.history)
        now.history.model_epoch = now.epoch
        if self.config.patience:
            self.checkpoints.restore_best(now)
        self.model.eval()
        return now.history

    def train_step(self, batch: Batch) -> Tensor:
        """Take one step of the optimiser.

        Args:
            batch: this process's part of the batch, on the device; its pixels are overwritten.

        Returns:
            the loss of the whole batch, a scalar, detached.
        """
        config, images = self.config, batch.images  # uint8 (B, 3, S, S), or features (B, F)
        if config.augment != "none" and images.ndim == 4:
            augment = AUGMENTATIONS[config.augment]
            rank, count = self.processes.rank, self.processes.count
            images = augment(images, self.generator, rank, count, out=images)
        loss_of = partial(self._batch_loss, batch)
        self.optimizer.zero_grad(set_to_none=True)
        if config.chunk_size:
            loss = cached_backward(
                self.branches,
                images,
                batch.tokens,
                loss_of,
                config.chunk_size,
                scale=self.scaler.scale,
                autocast=self.autocast,
            )
        else:
            with self.autocast():
                image_emb, text_emb = self.branches(images, batch.tokens)  # both (B, dim)
            loss = loss_of(image_emb, text_emb)
            self.scaler.scale(loss).backward()
        if config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return loss.detach()

    def _batch_loss(self, batch: Batch, image_emb: Tensor, text_emb: Tensor) -> Tensor:
        """The loss of the whole batch, from the embeddings (B, dim) of this process's part."""
        gather = self.processes.all_gather
        image_emb, text_emb = self.model.standardised(gather(image_emb), gather(text_emb))
        image_ids, caption_ids = gather(batch.image_ids), gather(batch.caption_ids)
        self.last_batch = LastBatch(image_emb.detach(), text_emb.detach(), image_ids, caption_ids)
        try:
            loss: Tensor = self.loss(
                image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids
            )
            fault = "" if torch.isfinite(loss) else f"the loss is {loss.item()}"
        except ValueError as error:
            fault = str(error)
        if fault:
            shown = ", ".join(map(str, image_ids[:5].tolist()))
            raise FloatingPointError(f"(images {shown}, …): {fault}")
        return loss

    def _train_epoch(self, now: Progress, bar: Any) -> None:
        """Take the remaining steps of an epoch."""
        self.model.train()
        self.loss.train()
        saved, begun = time.monotonic(), time.perf_counter()
        for batch in _timed(self.loader.epoch(now.epoch, now.step), now.history):
            with self._errors_located(now):
                now.losses.append(self.train_step(batch.to(self.device)))
            now.step += 1
            bar.update()
            due = time.monotonic() - saved >= 60 * self.config.snapshot_minutes
            if self.folder is not None and self.processes.broadcast(due):
                now.seconds += time.perf_counter() - begun
                self._save(now)
                saved, begun = time.monotonic(), time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now.seconds += time.perf_counter() - begun

    @contextmanager
    def _errors_located(self, now: Progress) -> Iterator[None]:
        """Add to an error of a step where it happened, and what to do about it."""
        where = f"epoch {now.epoch + 1}, step {now.step + 1} of {len(self.loader)}"
        size = self.config.batch_size
        try:
            yield
        except FloatingPointError as error:
            raise FloatingPointError(f"{where} {error}. Try a lower learning rate.") from None
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"{where}: {self.device} has no memory for batches of {size} pairs "
                f"({str(error).partition('.')[0]}). Set --chunk-size {size // 4} or so "
                f"(in Python chunk_size={size // 4}; the same batch, sent through the model in "
                "pieces), or a smaller --batch-size (batch_size)."
            ) from None

    def _close_epoch(self, now: Progress) -> dict[str, float]:
        """Write the epoch's row of the history, with validation figures where there are pairs."""
        row: dict[str, float] = {
            "epoch": now.epoch + 1,
            "loss": torch.stack(now.losses).mean().item(),
            "lr": float(self.schedule.get_last_lr()[-1]),
            "seconds": now.seconds,
        }
        now.history.training_seconds += now.seconds
        losses, report = torch.stack(now.losses), None
        now.epoch, now.step, now.losses, now.seconds = now.epoch + 1, 0, [], 0.0
        if self.validation is not None and self.config.validate:
            # `fit` has said whether it overlaps the training split.
            report = validate(
                self.model, self.validation, processes=self.processes, allow_leak=True
            )
            # All processes use those of process 0, so that all stop after the same epoch.
            figures = self.processes.broadcast(report.as_dict())
            row |= {name: value for name, value in figures.items() if "2" in name}
            rsum = sum(value for name, value in row.items() if name[3:5] == "_r")
            if rsum > now.best_rsum:
                now.best_rsum, now.best_epoch = rsum, now.epoch
                self.checkpoints.save_best(now, restored=self.config.patience != 0)
        now.history.rows.append(row)
        if self.config.tensorboard:
            self.checkpoints.write_tensorboard(row)
        self._diagnose(now.history, losses, report)
        return row

    def _diagnose(self, history: History, losses: Tensor, report: Report | None) -> None:
        """Note in the history what went wrong in an epoch, and print what is new."""
        if self.last_batch is None:  # resumed right after the epoch's last step
            return
        means = history.column("loss")
        found = diagnose_epoch(self.loss, self.last_batch, losses, means, self.config, report)
        history.note(found)
        new = [line for name, line in history.findings.items() if name not in self.warned]
        self.warned |= found.keys()
        if new and self.processes.first:
            with tqdm.external_write_mode():  # the progress bar makes room
                for line in new:
                    say(f"warning: {line}", flush=True)

    def _save(self, now: Progress) -> None:
        self.checkpoints.save(now, now.epoch * len(self.loader) + now.step)

    def _out_of_patience(self, now: Progress) -> bool:
        waited = now.epoch - now.best_epoch
        return bool(self.config.patience and now.best_epoch and waited >= self.config.patience)


def _batch_share(data: Store | Features, config: TrainConfig, processes: int) -> int:
    """How many pairs of a batch each process gets; checks that there are enough."""
    if len(data) < config.batch_size:
        raise DataError(
            f"{data.pairs.name or 'the data set'} has {len(data)} images, fewer than a "
            f"batch of {config.batch_size}; choose a smaller batch_size"
        )
    share, rest = divmod(config.batch_size, processes)
    if rest or share < 2:
        raise DataError(
            f"batch_size is {config.batch_size}, for all {processes} processes together; choose "
            f"a multiple of {processes}, two pairs each or more"
        )
    return share


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads inside the block; None leaves their number as it is.

    A step of two projections takes less time than threads need to share it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(batches: Iterator[Batch], history: History) -> Iterator[Batch]:
    """Yield the batches, and add the time spent waiting for them to the history."""
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        history.waiting_seconds += time.perf_counter() - asked
        if batch is None:
            return
        yield batch
