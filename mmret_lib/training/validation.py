"""Measure recall on a split, with the work divided among the processes that train."""

from typing import Any

import torch

from mmret_lib.data.features import Features
from mmret_lib.data.pairs import need_captions
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.metrics.report import Report, evaluate
from mmret_lib.training.distributed import Processes
from mmret_lib.training.leak import find_leak

TEXTS_AT_ONCE = 16384  # sorted by length together; a large set's features need not fit in memory


def validate(
    model: DualEncoder,
    data: Store | Features,
    *,
    processes: Processes | None = None,
    allow_leak: bool = False,
    **options: Any,
) -> Report:
    """Embed a split and measure its recalls and ranks.

    Args:
        data: the packed split, or its kept features: N images, M captions.
        processes: where several train together, each embeds its share, and all get the report.
        allow_leak: measure pictures that the model was trained on, too.
        options: passed on to `evaluate`.

    Returns:
        recall@K, mean and median rank in both directions.

    Raises:
        DataError: the model was trained on some of these pictures, and `allow_leak` is not set.
    """
    if not allow_leak:
        find_leak(model, data).refuse()
    processes = processes or Processes(0, 1, model.device)
    need_captions(data.owner, "measuring recall")
    count = len(data.owner)
    image_emb = torch.zeros(len(data), model.dim, device=model.device)  # (N, dim)
    text_emb = torch.zeros(count, model.dim, device=model.device)  # (M, dim)
    images, texts = processes.shard(len(data)), processes.shard(count)
    for first in range(images.start, images.stop, 256):
        piece = slice(first, min(first + 256, images.stop))
        image_emb[piece] = model.encode_images(data[piece])
    for first in range(texts.start, texts.stop, TEXTS_AT_ONCE):
        piece = slice(first, min(first + TEXTS_AT_ONCE, texts.stop))
        text_emb[piece] = model.encode_texts(data.texts(piece))
    # Every row is zero in all processes but one, so their sum is the whole.
    image_emb, text_emb = processes.all_reduce(image_emb), processes.all_reduce(text_emb)
    return evaluate(image_emb, text_emb, data.owner, **options)
