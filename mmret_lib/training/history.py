"""The figures of a training, one row per epoch, and a copy of them for TensorBoard."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmret_lib.files.errors import DataError


@dataclass
class History:
    """The figures of a training.

    Attributes:
        rows: one per epoch: epoch (from 1), loss (mean), lr, seconds, and the validation figures.
        training_seconds: all epochs together, validation not counted.
        waiting_seconds: of these, spent waiting for data.
        model_epoch: the epoch, from 1, that the model is of at the end: the last one, or with
            `TrainConfig.patience` the best on the validation pairs.
        findings: what was wrong after the last epoch, such as "collapsed loss" -> one line that
            says since which epoch, what it looks like and what to try; see `diagnosis`. Empty for
            a training that is sound.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    training_seconds: float = 0.0
    waiting_seconds: float = 0.0
    model_epoch: int = 0
    findings: dict[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[float]:
        """Return one figure, such as "loss" or "t2i_r1", of each epoch that has it."""
        return [row[name] for row in self.rows if name in row]

    def note(self, findings: dict[str, str]) -> None:
        """Keep what was found after the last epoch; what was found before keeps its epoch."""
        self.findings = {
            name: self.findings.get(name, f"epoch {len(self.rows)}: {line}")
            for name, line in findings.items()
        }


def summary_writer() -> Any:
    """Return the class that writes TensorBoard's files; TensorBoard is an optional dependency.

    Raises:
        DataError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DataError(
            f"--tensorboard (in Python tensorboard=True) needs TensorBoard ({error}): "
            "pip install tensorboard"
        ) from None
    return SummaryWriter


def write_tensorboard(folder: Path, row: dict[str, float]) -> None:
    """Add the figures of one epoch, a row of the history, to TensorBoard's files in ``folder``."""
    with summary_writer()(str(folder)) as writer:
        for name, value in row.items():
            writer.add_scalar(name, value, int(row["epoch"]))
