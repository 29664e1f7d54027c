"""Check the answers of the exercises and name the mistake: one module per exercise notebook."""

from mmret_lib.checks import (
    atlas,
    barlow_twins,
    big_batches,
    data_pipeline,
    experiments,
    extensions,
    image_branch,
    metrics,
    qualitative,
    simclr,
    text_branch,
    tour,
    training_loop,
    triplet_losses,
)
from mmret_lib.checks.engine.task import CheckFailed

__all__ = [
    "CheckFailed",
    "atlas",
    "barlow_twins",
    "big_batches",
    "data_pipeline",
    "experiments",
    "extensions",
    "image_branch",
    "metrics",
    "qualitative",
    "simclr",
    "text_branch",
    "tour",
    "training_loop",
    "triplet_losses",
]
