"""The pocket model: searches photographs of any kind, offline, with what comes with the course.

Its backbones are ImageEncoder's and TextEncoder's "pocket"; its two projections were trained on the
features of the album's split "train" (`training.pocket_heads`, `mmret pretrain pocket-heads`).
"""

import torch

from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.saved import read_trained_on
from mmret_lib.encoders.weights import load_state, read_safetensors
from mmret_lib.files.places import shipped

PROJECTIONS = "pocket/heads/projections.safetensors"


def pocket_model() -> DualEncoder:
    """Build the pocket model, in eval mode on the CPU.

    Raises:
        MissingFile: its weights are neither in the clone nor in the wheel.

    Example:
        >>> SearchIndex.build(pocket_model(), load_pairs("album")).by_text("Grazing zebra")
    """
    path = shipped(PROJECTIONS)
    with torch.random.fork_rng(devices=[]):  # the projections begin at random; nothing should show
        model = DualEncoder.from_names("pocket", "pocket", "pocket", "pocket")
    model.trained_on = read_trained_on(path.parent)
    state = {name: value.float() for name, value in read_safetensors(path).items()}
    for name, branch in (("image", model.image), ("text", model.text)):
        part = {key.partition(".")[2]: v for key, v in state.items() if key.startswith(name)}
        load_state(branch.projection, part, path)
    return model.eval()


def projections(model: DualEncoder) -> dict[str, torch.Tensor]:
    """Return the projections of both branches in half precision, as `pocket_model` reads them."""
    return {
        f"{name}.{key}": value.half()
        for name, branch in (("image", model.image), ("text", model.text))
        for key, value in branch.projection.state_dict().items()
    }
