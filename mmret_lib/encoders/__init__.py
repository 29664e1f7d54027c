"""The two branches: an image encoder and a text encoder, trained into one space.

`image` is a ResNet and `text` a BERT, each ending in one linear projection; `dual` holds both;
`clip` takes CLIP's own branches instead; `weights` reads what was pretrained elsewhere, and
`pretrain` makes the mini backbones that the course ships.
"""

from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.image import ImageEncoder, MiniResNet
from mmret_lib.encoders.load import load_model
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.wordpiece import train_wordpiece

__all__ = [
    "DualEncoder",
    "ImageEncoder",
    "MiniResNet",
    "TextEncoder",
    "load_model",
    "train_wordpiece",
]
