"""Open a saved model, whichever kind it is."""

import os

from mmret_lib.encoders.clip import ClipEncoder
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.places import user_path
from mmret_lib.files.whole import put_back


def load_model(folder: str | os.PathLike[str]) -> DualEncoder:
    """Open a model that `DualEncoder.save` or `ClipEncoder.save` wrote.

    A CLIP is kept in the layout of the transformers library, with its settings in config.json; the
    course's own models keep theirs in model.json. So the folder itself says which class it needs.

    Returns:
        The model in eval mode on the CPU.

    Raises:
        MissingFile: the folder or one of its files is not there.
        DataError: another version, damaged or foreign files, or a pickle among them.
    """
    folder = user_path(folder).absolute()
    put_back(folder)
    if (folder / "config.json").is_file() and not (folder / "model.json").exists():
        return ClipEncoder.load(folder)
    return DualEncoder.load(folder)
