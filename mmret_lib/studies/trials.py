"""Trial and Study: what is trained, and which question a group of trainings answers."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import STANDARDISED

# Smaller than the world of `mmret demo`, so that a hundred trainings fit into an hour.
WORLD: dict[str, Any] = {"size": 2000, "test_size": 1000}
BASE: dict[str, Any] = {"epochs": 6, "batch_size": 64}
SEEDS = (0, 1, 2)
# A loss's settings where a trial says nothing else. Not the library's defaults, which may follow
# what a study finds, while recorded trainings keep the settings they had.
USUAL: dict[str, dict[str, Any]] = {
    "sum_triplet": {"margin": 0.2},
    "max_triplet": {"margin": 0.2, "all_negatives_steps": 100},
    "simclr": {"temperature": 0.07},
    "barlow_twins": {"lambda_": 0.02},
}


@dataclass(frozen=True)
class Trial:
    """A loss, and what differs from the common set-up.

    Attributes:
        loss: its name.
        loss_settings: for `build_loss`.
        model_settings: for `build_model`.
        config: for `TrainConfig`.
        data: `size`, `test_size`, and settings of the built-in world for training alone, such as
            `wrong_captions`.
        negatives: what changes in the batch's negatives. `count` and `pick` (for `FewerNegatives`),
            or `guide`: "truth" shows the loss which captions are true of which scenes.
        split: the scenes that are ranked at the end: "test", or "val" where a setting is chosen.
        curve: epochs after which the val and the test scenes are ranked as well.
        branches: measure the offset and the scale of each branch's embeddings, and the recall
            without them.
    """

    loss: str = "simclr"
    loss_settings: dict[str, Any] = field(default_factory=dict)
    model_settings: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    negatives: dict[str, Any] = field(default_factory=dict)
    split: str = "test"
    curve: tuple[int, ...] = ()
    branches: bool = False

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return all that decides a training except the seed, with the defaults filled in."""
        config = {**BASE, **self.config}
        usual = vars(TrainConfig())
        measured = {"split": self.split, "curve": list(self.curve), "branches": self.branches}
        unusual = {"split": "test", "curve": [], "branches": False}
        settings = {
            "loss": {"loss": self.loss, **USUAL.get(self.loss, {}), **self.loss_settings},
            "model": {"standardise": self.loss in STANDARDISED, **self.model_settings},
            "config": {key: value for key, value in config.items() if usual[key] != value},
            "data": {**WORLD, **{key: value for key, value in self.data.items() if value}},
            "negatives": self.negatives,
            "measured": {key: value for key, value in measured.items() if value != unusual[key]},
        }
        # What is left out names the training as it was named before it existed.
        optional = ("negatives", "measured")
        return {key: value for key, value in settings.items() if value or key not in optional}

    def training(self, seed: int) -> str:
        """Name the training by a hash of its settings, so that it is the same in every study."""
        text = json.dumps({**self.settings(), "seed": seed}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def columns(self) -> dict[str, Any]:
        """Return the settings as columns of a row; a loss has only its own."""
        usual = {key: value for key, value in vars(TrainConfig()).items() if key != "seed"}
        parts = self.settings()
        flat = {**parts["loss"], **parts["model"], **usual, **parts["config"], **parts["data"]}
        flat["captions_shown"] = flat.pop("captions")  # "captions" counts those that were ranked
        negatives = {f"negatives_{key}": value for key, value in self.negatives.items()}
        return {**flat, **self.data, **negatives}


@dataclass(frozen=True)
class Study:
    """A question and its trials by name; every trial is trained once from each of the seeds."""

    question: str
    trials: dict[str, Trial]
    seeds: tuple[int, ...] = SEEDS

    def varying(self) -> list[str]:
        """The names of the settings in which the trials differ."""
        rows = [trial.columns() for trial in self.trials.values()]
        names = dict.fromkeys(name for row in rows for name in row)
        return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]
