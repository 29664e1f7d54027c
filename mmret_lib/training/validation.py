"""Measure recall on a split, with the work divided among the processes that train."""

from typing import Any

import torch

from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.metrics.report import Report, evaluate
from mmret_lib.training.distributed import Processes


def validate(
    model: DualEncoder, data: Store, *, processes: Processes | None = None, **options: Any
) -> Report:
    """Embed a split and measure its recalls and ranks.

    Args:
        data: the packed split: N images, M captions.
        processes: where several train together, each embeds its share, and all get the report.
        options: passed on to `evaluate`.

    Returns:
        recall@K, mean and median rank in both directions.
    """
    processes = processes or Processes(0, 1, model.device)
    captions = data.pairs.captions
    image_emb = torch.zeros(len(data), model.dim, device=model.device)  # (N, dim)
    text_emb = torch.zeros(len(captions), model.dim, device=model.device)  # (M, dim)
    images, texts = processes.shard(len(data)), processes.shard(len(captions))
    for first in range(images.start, images.stop, 256):
        piece = slice(first, min(first + 256, images.stop))
        image_emb[piece] = model.encode_images(data[piece])
    text_emb[texts] = model.encode_texts(captions[texts])
    # Every row is zero in all processes but one, so their sum is the whole.
    image_emb, text_emb = processes.all_reduce(image_emb), processes.all_reduce(text_emb)
    return evaluate(image_emb, text_emb, data.pairs.owner, **options)
