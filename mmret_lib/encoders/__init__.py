"""The two branches: an image encoder and a text encoder, trained into one space.

`image` is a ResNet and `text` a BERT, each with a linear projection at its end; `dual` holds both,
`trainable` says what of them trains, and `saved` keeps them in a folder. `clip` has CLIP's branches
instead, and `load` opens a saved model of either kind. `features` computes what frozen backbones
make of photos and captions, once (`feature_sides`: of either).
`weights` finds and reads pretrained weights, `timm_models` builds the image models of timm,
`checkpoints` opens models of the transformers library, and `pooling` makes one vector of a text's
tokens. `pretrain` makes the mini backbones that the course ships, for which `wordpiece` learns a
vocabulary; `distil` makes the pocket text backbone, from `distil_texts`.
`pocket` is the model of both pocket backbones that searches photographs at once.
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
