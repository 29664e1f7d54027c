"""Check the answers of the exercises and name the mistake: one module per exercise notebook."""

from mmret_lib.checks import (
    atlas,
    barlow_twins,
    data_pipeline,
    image_branch,
    simclr,
    text_branch,
    tour,
    triplet_losses,
)
from mmret_lib.checks.engine.task import CheckFailed

__all__ = [
    "CheckFailed",
    "atlas",
    "barlow_twins",
    "data_pipeline",
    "image_branch",
    "simclr",
    "text_branch",
    "tour",
    "triplet_losses",
]
