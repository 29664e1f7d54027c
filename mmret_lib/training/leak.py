"""Check whether a model is measured on pictures that it was trained on.

A recall over such pictures says little about others. A model keeps the hashes of the pictures it
was trained on (`DualEncoder.trained_on`), and they are compared with those of the pictures that it
is to be measured on, so that copies are found under other names, in other folders, and at other
sizes (`data.pixel_hash`).
"""

from dataclasses import dataclass

import numpy as np

from mmret_lib.data.features import Features
from mmret_lib.data.pixel_hash import UNKNOWN, copies_in
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError, on_one_line

REMEDY = (
    "A recall over them says little about other images, so none is given. Choose other images "
    "(--split, --data), or --allow-leak (in Python allow_leak=True) to get it all the same"
)


@dataclass(frozen=True)
class Leak:
    """What a comparison of a model's training pictures with other pictures found.

    Attributes:
        count: pictures that the model was trained on.
        text: "3 of 1,000 test images were trained on (the first is a.jpg)"; where none were found
            but the pixels of some pictures are not known, a line that says so; else "".
    """

    count: int
    text: str

    def refuse(self, run: str = "") -> None:
        """Raise DataError if there are such pictures; `run` names the model in the message."""
        if self.count:
            raise DataError(f"{run and f'{run}: '}{self.text}. {REMEDY}")


def note_trained_on(model: DualEncoder, data: Store | Features) -> None:
    """Add the hashes of pictures to those that the model was trained on."""
    model.trained_on = np.union1d(model.trained_on, data.hashes)


def find_leak(
    model: DualEncoder, data: Store | Features, kind: str = "test", *, recorded: bool = False
) -> Leak:
    """Count the pictures that the model was trained on.

    Args:
        kind: of these pictures, for the text: "test" or "validation".
        recorded: the run's record names these very pictures as its training split. This decides
            where the run has no hashes: an older version made it, or its features have no photos.
    """
    found = np.flatnonzero(copies_in(model.trained_on, data.hashes) >= 0)
    total = f"{len(data):,} {kind} images were trained on"
    if 0 < len(found) < len(data):
        first = on_one_line(data.pairs.images[found[0]].name)
        return Leak(len(found), f"{len(found):,} of {total} (the first is {first})")
    if len(found):
        return Leak(len(found), f"{len(found):,} of {total}")
    run_known, all_known = UNKNOWN not in model.trained_on, (data.hashes != UNKNOWN).all()
    if run_known and all_known:
        return Leak(0, "")
    if recorded:
        return Leak(len(data), f"{len(data):,} of {total}, as the run's record says")
    which = "these features have" if run_known else "the run has"
    return Leak(
        0,
        f"whether {kind} images were trained on cannot be checked: {which} no hashes of all photos",
    )
