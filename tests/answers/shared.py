"""What answers to several tasks begin with."""

import torch
import torch.nn.functional as F
from torch import Tensor


def unit(emb: Tensor) -> Tensor:
    return F.normalize(emb, dim=1)


def cos(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    return unit(image_emb) @ unit(text_emb).T


def eye(s: Tensor) -> Tensor:
    return torch.eye(len(s), dtype=torch.bool, device=s.device)


def own(s: Tensor) -> Tensor:
    return s.diagonal()[:, None]


def forgets_return(*args):
    sum(one.sum() for one in args if isinstance(one, Tensor))
