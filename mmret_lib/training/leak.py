"""Check whether a model is measured on pictures that it was trained on.

A recall over such pictures says little about others. A model keeps the hashes of the pictures it
was trained on (`DualEncoder.trained_on`), and they are compared with those of the pictures that it
is to be measured on, so that copies are found under other names, in other folders, and at other
sizes (`data.pixel_hash`).
"""

import numpy as np

from mmret_lib.data.features import Features
from mmret_lib.data.pixel_hash import UNKNOWN, found_in
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError, on_one_line

REMEDY = (
    "A recall over them says little about other images, so none is given. Choose another split "
    "(--split), or --allow-leak (in Python allow_leak=True) to get it all the same"
)


def note_trained_on(model: DualEncoder, data: Store | Features) -> None:
    """Add the hashes of the pictures to those that the model was trained on."""
    model.trained_on = np.union1d(model.trained_on, data.hashes)


def count_trained_on(model: DualEncoder, data: Store | Features) -> tuple[int, str]:
    """Count the pictures that the model was trained on: how many, and the file name of the first.

    Pictures whose pixels are not known are not counted.
    """
    found = np.flatnonzero(found_in(data.hashes, model.trained_on))
    return len(found), on_one_line(data.pairs.images[found[0]].name) if len(found) else ""


def can_be_checked(model: DualEncoder, data: Store | Features) -> bool:
    """Whether the pixels are known of all pictures: those trained on, and these."""
    return UNKNOWN not in model.trained_on and bool((data.hashes != UNKNOWN).all())


def leak_text(model: DualEncoder, data: Store | Features, kind: str = "test") -> str:
    """Say how many of the pictures were trained on: "3 of 1,000 test images …"; "" for none."""
    count, first = count_trained_on(model, data)
    such_as = f" (the first is {first})" if count < len(data) else ""
    return f"{count:,} of {len(data):,} {kind} images were trained on{such_as}" if count else ""


def refuse_leak(model: DualEncoder, data: Store | Features) -> None:
    """Raise DataError if the model was trained on any of the pictures."""
    if leak := leak_text(model, data):
        raise DataError(f"{leak}. {REMEDY}")
