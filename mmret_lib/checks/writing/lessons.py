"""The functions that students write, lesson by lesson, in the order of the course."""

import re
from functools import cache
from pathlib import Path

# The exercises. The checks of 04_triplet_losses are mmret_lib/checks/triplet_losses.py, and its
# functions are those for which that module has a check, in the same order.
LESSONS = (
    "00_tour",
    "01_data_pipeline",
    "02_image_branch",
    "03_text_branch",
    "04_triplet_losses",
    "05_simclr",
    "06_barlow_twins",
    "07_training_loop",
    "08_metrics",
    "09_qualitative",
    "10_experiments",
    "12_big_batches",
    "13_extensions",
    "14_atlas",
)
CHECKS = Path(__file__).resolve().parents[1]


@cache
def tasks() -> dict[str, list[str]]:
    """Return for each lesson the names of its functions, in the order of their tasks.

    They are read from the checks' source, so that the command line need not import torch.
    """
    found = {}
    for lesson in LESSONS:
        checks = CHECKS / f"{lesson[3:]}.py"
        code = checks.read_text(encoding="utf-8") if checks.is_file() else ""
        found[lesson] = re.findall(r"^def check_(\w+)\(", code, re.MULTILINE)
    return found


def lesson_of(function: str) -> str | None:
    """Return the lesson in which a function is written, or None if it is none of the course's."""
    return next((lesson for lesson, names in tasks().items() if function in names), None)
