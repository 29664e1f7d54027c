"""What tells a student that an answer is wrong, and why: one module per exercise notebook."""

from mmret_lib.checks import triplet_losses
from mmret_lib.checks.engine.task import CheckFailed

__all__ = ["CheckFailed", "triplet_losses"]
