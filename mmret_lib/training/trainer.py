"""The training loop: the same call on a laptop's CPU and on a GPU.

    trainer = Trainer(model, SimCLR(), pairs, TrainConfig(), validation=val_pairs, folder="run")
    history = trainer.fit(resume=True)

A step is: gather a batch, move it to the device, augment it there, embed both branches, take the
loss, step. Mixed precision follows from what the device can do. Given a folder, training keeps
snapshots there, and the same two lines, run again after a session was lost, go on at the very step.
Started as several processes (see `processes`), the same two lines train one model in all of them.
"""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.loader import Batch, Loader
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path
from mmret_lib.metrics.report import Report, evaluate
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.devices import pick_precision
from mmret_lib.training.distributed import Processes
from mmret_lib.training.grad_cache import cached_backward
from mmret_lib.training.schedule import enough_epochs, rate_factor
from mmret_lib.training.snapshots import Snapshots

__all__ = ["History", "TrainConfig", "Trainer", "validate"]


@dataclass
class History:
    """One row per epoch: epoch (from 1), loss (mean), lr, seconds, and the validation figures."""

    rows: list[dict[str, float]] = field(default_factory=list)
    training_seconds: float = 0.0  # validation not counted
    waiting_seconds: float = 0.0  # of these, spent waiting for data

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


@dataclass
class Progress:
    """Where a training stands: all that `fit` needs besides weights, optimiser and chance."""

    epoch: int = 0  # epochs that are done
    step: int = 0  # steps of the next one that are done
    losses: list[Tensor] = field(default_factory=list)  # theirs, scalars
    seconds: float = 0.0  # spent on them
    history: History = field(default_factory=History)
    best_epoch: int = 0  # from 1; 0: none was measured
    best_rsum: float = -1.0


class Trainer:
    """Trains a model on pairs with a loss.

    Args:
        model: trained in place; moved to the configured device.
        loss: called as ``loss(image_emb, text_emb, image_ids=…, caption_ids=…)``.
        pairs: training pairs, packed here unless they are already.
        config: the knobs.
        validation: pairs to measure recall on after each epoch.
        folder: where to keep snapshots and the best model (``folder/snapshots``, ``folder/best``);
            without one nothing is kept and nothing can be resumed.
        on_epoch: called with the history after each epoch, such as `figures.LiveCurve()`.
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
        folder: str | Path | None = None,
        on_epoch: Callable[[History], object] | None = None,
        progress: bool = True,
    ):
        config = config or TrainConfig()
        self.processes = Processes.join(config.device)
        progress = progress and self.processes.first
        self.device = self.processes.device
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
        share, rest = divmod(config.batch_size, self.processes.count)
        if rest or share < 2:
            raise DataError(
                f"batch_size is {config.batch_size}, for all {self.processes.count} processes "
                f"together; choose a multiple of {self.processes.count}, two pairs each or more"
            )
        if config.epochs is None:
            config = replace(config, epochs=enough_epochs(len(data.pairs), config.batch_size))
        self.config = config
        self.loader = Loader(
            data,
            data.token_ids(model.text),
            share,
            captions=config.captions,
            seed=config.seed,
            rank=self.processes.rank,
            world_size=self.processes.count,
            pin_memory=self.device.type == "cuda",
        )
        self.folder = user_path(folder) if folder is not None else None
        self.snapshots = Snapshots(self.folder / "snapshots") if self.folder else None
        if config.tensorboard:
            _summary_writer()  # if it is missing, better now than after an epoch
        self.on_epoch, self.progress = on_epoch, progress
        self.generator = torch.Generator()  # of the augmentation, the same on every device
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
        self.branches = self.processes.parallel(model)
        if config.compile:
            self.branches.compile()

    def fit(self, *, resume: bool = False) -> History:
        """Train for all epochs, or until the validation figures no longer get better.

        Args:
            resume: go on from the newest snapshot in the folder, in mid-epoch if need be; where
                there is none, begin. On a CPU the end is the same to the last bit as without the
                break; on a GPU, and among more than two processes, as far as their sums repeat.

        Raises:
            FloatingPointError: the loss stopped being finite (names epoch, step and images).
            DataError: no memory for the batch; a snapshot of another training, or one that would
                be overwritten, or none that can be read.
        """
        config = self.config
        epochs = config.epochs or 0  # filled in by __init__
        torch.manual_seed(config.seed + self.processes.rank)
        self.generator.manual_seed(config.seed)
        state = self._resumed(resume)
        bar = tqdm(
            total=epochs * len(self.loader),
            initial=state.epoch * len(self.loader) + state.step,
            unit="step",
            disable=not self.progress,
            desc=type(self.loss).__name__,
        )
        with bar:
            while state.epoch < epochs and not self._enough(state):
                self._train_epoch(state, bar)
                row = self._close_epoch(state)
                bar.set_postfix(
                    {name: f"{row[name]:.2f}" for name in ("loss", "t2i_r1") if name in row}
                )
                self._snapshot(state)
                if self.on_epoch and self.processes.first:
                    self.on_epoch(state.history)
        self.model.eval()
        return state.history

    def _train_epoch(self, state: Progress, bar: Any) -> None:
        """The rest of an epoch, step by step."""
        self.model.train()
        self.loss.train()
        history, saved = state.history, time.monotonic()
        mark = time.perf_counter()
        for batch in _timed(self.loader.epoch(state.epoch, state.step), history):
            state.losses.append(self._train_step(batch.to(self.device), state))
            state.step += 1
            bar.update()
            due = time.monotonic() - saved >= 60 * self.config.snapshot_minutes
            if self.snapshots is not None and self.processes.told(due):
                state.seconds += time.perf_counter() - mark
                self._snapshot(state)
                saved, mark = time.monotonic(), time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        state.seconds += time.perf_counter() - mark

    def _train_step(self, batch: Batch, state: Progress) -> Tensor:
        """One step of the optimiser; returns the loss, detached."""
        config, images = self.config, batch.images
        where = f"epoch {state.epoch + 1}, step {state.step + 1} of {len(self.loader)}"
        if config.augment != "none":
            images = AUGMENTATIONS[config.augment](
                images, self.generator, self.processes.rank, self.processes.count, out=images
            )
        gather = self.processes.gather
        ids = {"image_ids": gather(batch.image_ids), "caption_ids": gather(batch.caption_ids)}

        def loss_of(image_emb: Tensor, text_emb: Tensor) -> Tensor:
            """From this process's embeddings to the loss of the whole batch."""
            whole = self.model.standardised(gather(image_emb), gather(text_emb))
            return self._loss_of(*whole, ids, where)

        self.optimizer.zero_grad(set_to_none=True)
        try:
            if config.chunk_size:
                loss = cached_backward(
                    self.branches,
                    images,
                    batch.tokens,
                    loss_of,
                    config.chunk_size,
                    scale=self.scaler.scale,
                    autocast=self._autocast,
                )
            else:
                with self._autocast():
                    image_emb, text_emb = self.branches(images, batch.tokens)  # both (B, D)
                loss = loss_of(image_emb, text_emb)
                self.scaler.scale(loss).backward()
                loss = loss.detach()
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"{where}: {self.device} has no memory for batches of {config.batch_size} pairs "
                f"({str(error).partition('.')[0]}). Set chunk_size={config.batch_size // 4} or so "
                "(the same batch, sent through the model in pieces), or a smaller batch_size."
            ) from None
        if config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return loss

    def _loss_of(
        self, image_emb: Tensor, text_emb: Tensor, ids: dict[str, Tensor], where: str
    ) -> Tensor:
        try:
            loss = self.loss(image_emb, text_emb, **ids)
            what = f"the loss is {loss.item()}" if not torch.isfinite(loss) else ""
        except ValueError as error:
            what = str(error)
        if what:
            shown = ", ".join(map(str, ids["image_ids"][:5].tolist()))
            raise FloatingPointError(
                f"{where} (images {shown}, …): {what}. Try a lower learning rate."
            )
        return loss

    def _close_epoch(self, state: Progress) -> dict[str, float]:
        """Write the epoch's row of the history, measured on validation pairs if there are any."""
        history = state.history
        row: dict[str, float] = {
            "epoch": state.epoch + 1,
            "loss": torch.stack(state.losses).mean().item(),
            "lr": float(self.schedule.get_last_lr()[-1]),
            "seconds": state.seconds,
        }
        history.training_seconds += state.seconds
        if self.validation is not None and self.config.validate:
            report = validate(self.model, self.validation, processes=self.processes)
            # The others take process 0's figures: all must agree on when it is enough.
            row |= self.processes.told(
                {name: value for name, value in report.as_dict().items() if "2" in name}
            )
            rsum = sum(value for name, value in row.items() if name[3:5] == "_r")
            if rsum > state.best_rsum:
                state.best_rsum, state.best_epoch = rsum, state.epoch + 1
                if self.folder and self.processes.first:
                    best = self.folder / "best"
                    self._or_warn(lambda: self.model.save(best), "the best model")
        history.rows.append(row)
        if self.config.tensorboard and self.folder and self.processes.first:
            with _summary_writer()(str(self.folder / "tensorboard")) as writer:
                for name, value in row.items():
                    writer.add_scalar(name, value, state.epoch + 1)
        state.epoch, state.step, state.losses, state.seconds = state.epoch + 1, 0, [], 0.0
        return row

    def _enough(self, state: Progress) -> bool:
        """Whether the validation figures have not got better for as long as is waited."""
        waited = state.epoch - state.best_epoch
        return bool(self.config.patience and state.best_epoch and waited >= self.config.patience)

    # ------------------------------------------------------------------------ snapshots

    def _snapshot(self, state: Progress) -> None:
        if self.snapshots is None:
            return
        optimizer = self.optimizer.state_dict()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"loss.{name}": value for name, value in self.loss.state_dict().items()}
        for number, entries in optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in entries.items()}
        tensors["random.augmentation"] = self.generator.get_state()
        for rank, random_states in enumerate(self.processes.each(self._random_states())):
            tensors |= {f"random.{rank}.{name}": one for name, one in random_states.items()}
        if not self.processes.first:
            return
        if state.losses:
            tensors["losses"] = torch.stack(state.losses)
        facts = {
            "training": self._identity,
            "epoch": state.epoch,
            "steps": state.step,
            "seconds": state.seconds,
            "history": asdict(state.history),
            "best": [state.best_epoch, state.best_rsum],
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        done, snapshots = state.epoch * len(self.loader) + state.step, self.snapshots
        self._or_warn(lambda: snapshots.save(done, tensors, facts), "a snapshot")

    def _random_states(self) -> dict[str, Tensor]:
        """Of this process: what dropout draws from."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def _or_warn(self, save: Callable[[], object], what: str) -> None:
        """A disk that is full costs a snapshot, not the training."""
        try:
            save()
        except OSError as error:
            warnings.warn(
                f"{what} could not be saved in {self.folder} ({error}); training goes on, and what "
                "was saved before stays. Make room or mend the disk",
                stacklevel=2,
            )

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What must not change between two parts of one training, as json holds it."""
        pairs = self.loader.store.pairs
        content = json.dumps([pairs.captions, pairs.owner.tolist(), [p.name for p in pairs.images]])
        config = asdict(self.config)
        for free in ("device", "snapshot_minutes", "tensorboard", "compile"):
            config.pop(free)
        digest = hashlib.sha256(content.encode()).hexdigest()
        identity = {
            "config": config,
            "loss": type(self.loss).__name__,
            "data": f"{len(pairs)} images, sha256 {digest}",
        }
        return json.loads(json.dumps(identity))

    def _resumed(self, resume: bool) -> Progress:
        """Where to begin: at a snapshot, whose weights and states are put in place, or at 0."""
        if self.snapshots is None:
            if resume:
                raise DataError("there is nothing to resume without a folder; give Trainer one")
            return Progress()
        if not resume:
            if self.snapshots.steps():
                raise DataError(
                    f"{self.snapshots.folder} holds a training that was not finished: go on with "
                    "it (resume), or delete that folder"
                )
            return Progress()
        found = self.snapshots.newest()
        begun = self.processes.each(found and found[1]["step"])
        if len(set(begun)) > 1:
            raise DataError(
                f"the processes see different snapshots in {self.snapshots.folder} (after steps "
                f"{begun}); it must be a folder that all of them share"
            )
        if found is None:
            return Progress()
        tensors, facts = found
        for name, mine in self._identity.items():
            if facts["training"][name] != mine:
                theirs = facts["training"][name]
                if isinstance(mine, dict):
                    odd = sorted(key for key in mine if theirs.get(key) != mine[key])
                    name = f"{name} ({', '.join(odd)})"
                    theirs = {key: theirs.get(key) for key in odd}
                raise DataError(
                    f"{self.snapshots.folder} is of a training with another {name}: {theirs}. "
                    "Resume with the same, or begin in another folder."
                )
        self._put_in_place(tensors, facts)
        losses = list(tensors["losses"].to(self.device)) if "losses" in tensors else []
        return Progress(
            facts["epoch"],
            facts["steps"],
            losses,
            facts["seconds"],
            History(**facts["history"]),
            *facts["best"],
        )

    def _put_in_place(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            length = len(prefix)
            return {k[length:]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.loss.load_state_dict(part("loss."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            number, _, name = key.partition(".")
            if value.ndim:  # laid out like its parameter: the fused step walks both side by side
                value = torch.empty_like(self.parameters[int(number)]).copy_(value)
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
        self.schedule.load_state_dict(facts["schedule"])
        self.scaler.load_state_dict(facts["scaler"])
        self.generator.set_state(tensors["random.augmentation"])
        # With more processes than before, the new ones keep the states that `fit` gave them.
        random_states = part(f"random.{self.processes.rank}.")
        if "cpu" in random_states:
            torch.set_rng_state(random_states["cpu"])
        if self.device.type == "cuda" and "cuda" in random_states:
            torch.cuda.set_rng_state(random_states["cuda"], self.device)

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def _summary_writer() -> Any:
    """TensorBoard's writer: an extra, asked for by name."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DataError(
            f"tensorboard=True needs TensorBoard ({error}): pip install tensorboard"
        ) from None
    return SummaryWriter


def _timed(batches: Iterator[Batch], history: History) -> Iterator[Batch]:
    """The batches, the time that they were waited for added to the history."""
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        history.waiting_seconds += time.perf_counter() - asked
        if batch is None:
            return
        yield batch


def validate(
    model: DualEncoder, data: Store, *, processes: Processes | None = None, **options: Any
) -> Report:
    """Embed a split and rank it; ``options`` go to `evaluate`.

    With several ``processes`` each embeds its share, and all have the report.
    """
    captions = data.pairs.captions
    if processes is None or processes.count == 1:
        image_emb, text_emb = model.encode_images(data), model.encode_texts(captions)
    else:
        image_emb = torch.zeros(len(data), model.dim, device=model.device)  # (N, dim)
        text_emb = torch.zeros(len(captions), model.dim, device=model.device)  # (M, dim)
        images, texts = processes.share(len(data)), processes.share(len(captions))
        for first in range(images.start, images.stop, 256):
            piece = slice(first, min(first + 256, images.stop))
            image_emb[piece] = model.encode_images(data[piece])
        text_emb[texts] = model.encode_texts(captions[texts])
        image_emb, text_emb = processes.sum(image_emb), processes.sum(text_emb)
    return evaluate(image_emb, text_emb, data.pairs.owner, **options)
