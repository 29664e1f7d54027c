"""The settings of a training run. Imports no torch, so that `mmret --help` answers at once."""

import math
from dataclasses import dataclass
from typing import Literal

from mmret_lib.files.errors import DataError

Schedule = Literal["cosine", "multistep", "constant"]
Part = Literal["whole", "projection", "nothing"]


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run. Rates are those of AdamW; shares lie in 0…1."""

    epochs: int | None = None
    """passes over the images, each with one caption per image; by default 7, or on a small set
    as many as make 430 steps. Where only projections train, which learn and overfit sooner: 10, or
    with validation pairs 40 at most and a patience of 4"""
    batch_size: int = 128
    """pairs per step, over all processes; each image is compared with this many texts"""
    backbone_lr: float | None = None
    """peak learning rate of the two backbones, by default as the weights of each want it: 5e-5 for
    pretrained ones (ImageNet's, the hub's, timm's, those of a run), which a larger rate would
    undo; 1e-3 for random ones and for the mini backbones, for which a search on drawn scenes chose
    half to twice that, depending on the loss"""
    image_lr: float | None = None
    """peak learning rate of the image branch's backbone, by default backbone_lr"""
    text_lr: float | None = None
    """peak learning rate of the text branch's backbone, by default backbone_lr"""
    projection_lr: float = 2e-3
    """peak learning rate of the two projections and of a learnable loss"""
    weight_decay: float = 0.05
    """AdamW's decay of matrices and kernels; norms and biases have none"""
    schedule: Schedule = "cosine"
    """cosine: down to zero; multistep: times gamma at each milestone; constant"""
    warmup: float = 0.1
    """share of the steps over which the rates rise from zero; with "multistep" it ends before the
    first milestone, after three quarters of the steps before it at the latest"""
    milestones: tuple[int, ...] = (1, 4, 10)
    """epochs, from 1, after which "multistep" cuts the rates"""
    gamma: float = 0.5
    """what "multistep" multiplies the rates by"""
    clip: float = 1.0
    """largest norm of the gradient; 0 turns clipping off"""
    train: Literal["all", "projections", "image", "text"] = "all"
    """what is trained: all, the two projections, or one whole branch; the rest stays frozen,
    batch-norm statistics included"""
    train_image: Part | None = None
    """what is trained of the image branch: whole, its projection or nothing; by default as "train"
    says. With "projection" here and "whole" for the text, this is locked-image tuning"""
    train_text: Part | None = None
    """what is trained of the text branch; by default as "train" says"""
    captions: Literal["random", "first", "all"] = "random"
    """which of an image's captions an epoch shows: one at random, always the first, or all"""
    augment: Literal["shift", "crop", "none"] = "shift"
    """shift: move and mirror the images; crop: scale up a random part and mirror; none. With kept
    features it says how their views are made; without views there is none"""
    kept_features: bool = True
    """where neither backbone trains, run both over the data only once, before the training, and
    keep their features in the cache folder"""
    views: int = 0
    """augmented views of each photo among the kept features, of which an epoch shows one; 0 shows
    the photos as they are"""
    validate: bool = True
    """measure recall on the validation pairs after each epoch"""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """auto: bfloat16 where the GPU has it (compute capability 8.0), float16 on older GPUs,
    float32 on the CPU"""
    device: str = "auto"
    """auto: the GPU if there is one"""
    seed: int = 0
    """seed of the random order, captions, augmentation and dropout"""
    chunk_size: int = 0
    """gradient caching: pairs that go through the model at a time, so that a batch of any size
    takes no more memory; 0 sends the whole batch through at once"""
    patience: int | None = None
    """epochs without a better sum of recalls on the validation pairs before training stops; then
    the model is that of the best epoch. 0, the default except where only projections train, never
    stops early and ends with the last epoch's model"""
    snapshot_minutes: float = 5.0
    """minutes between two snapshots to resume from, besides one after each epoch; 0 takes one
    after every step"""
    compile: bool = False
    """compile the model first (torch.compile): minutes to start, then faster on a recent GPU"""
    tensorboard: bool = False
    """also write the history for TensorBoard, beside the snapshots"""

    def __post_init__(self) -> None:
        self.check()

    def check(self, flags: bool = False) -> None:
        """Raise DataError for a value out of its range, named as a flag or as in Python."""
        for name, low, high in (
            ("epochs", 1, math.inf),
            ("batch_size", 2, math.inf),
            ("backbone_lr", 0, 1),
            ("image_lr", 0, 1),
            ("text_lr", 0, 1),
            ("projection_lr", 0, 1),
            ("weight_decay", 0, 1),
            ("warmup", 0, 1),
            ("gamma", 0, 1),
            ("clip", 0, math.inf),
            ("views", 0, math.inf),
            ("chunk_size", 0, math.inf),
            ("patience", 0, math.inf),
            ("snapshot_minutes", 0, math.inf),
            ("seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                name = f"--{name.replace('_', '-')}" if flags else name
                allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                raise DataError(f"{name} is {value}; it must be {allowed}")
        if any(milestone < 1 for milestone in self.milestones):
            raise DataError(f"milestones are {self.milestones}; each must be an epoch, from 1")
