"""Make the weights of the "pocket" image backbone: EfficientNet-Lite0 in half precision, once.

    python data/make_pocket_image.py FOLDER data/pocket/image

FOLDER has `model.safetensors`, ImageNet's weights of EfficientNet-Lite0 under timm's names. The
classifier is left out: a retrieval model ends in a projection of its own.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmret_lib.encoders import ImageEncoder

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("weights", type=Path, help="folder with the model.safetensors in float32")
parser.add_argument("out", type=Path, help="folder to write model.safetensors and config.json to")
arguments = parser.parse_args()

encoder = ImageEncoder("timm/tf_efficientnet_lite0", arguments.weights)
encoder.save_backbone(arguments.out)  # config.json, and the weights in float32
state = {
    name: (value.half() if value.is_floating_point() else value).contiguous()
    for name, value in encoder.backbone.state_dict().items()
}
assert all(torch.isfinite(value).all() for value in state.values())  # float16 ends at 65,504
save_file(state, arguments.out / "model.safetensors", metadata={"format": "pt"})
