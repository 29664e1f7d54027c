"""List every query with the rank of its right answer and the best wrong answer.

A recall does not show which kind of query a model fails at. This table does: sorted by rank, the
worst failures come first, each with the wrong answer that the model preferred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmret_lib.data.judgements import Judgements
from mmret_lib.metrics.inputs import Array, check_pool
from mmret_lib.metrics.ranks import (
    Owner,
    PairScores,
    embedding_ranks,
    full_precision,
    own_entries_of,
    slices,
)

KS = (1, 5, 10)  # the K of the hits
TILE = 1024


def query_table(
    image_emb: Array,
    text_emb: Array,
    owner: Array | Sequence[int],
    *,
    images: Sequence[object] | None = None,
    captions: Sequence[str] | None = None,
    judgements: Judgements | None = None,
) -> pd.DataFrame:
    """List every query with its rank, its right answer and the best wrong one.

    >>> table = query_table(image_emb, text_emb, pairs.owner, captions=pairs.captions)
    >>> table[table.direction == "t2i"].sort_values("rank", ascending=False).head(20)

    Args:
        image_emb, text_emb, owner: (N, D), (M, D), (M,), as in `mmret_lib.metrics.evaluate`.
        images, captions: names of the N images (such as their files) and the M captions, to stand
            beside the indices.
        judgements: further right answers, such as `scene_truth(pairs)`.

    Returns:
        One row for each query, N images and then M captions; every rank is within the whole pool.
        Columns `direction` ("i2t" or "t2i"), `query` (index), `rank` (of the best right answer,
        from 1, ties at their expected rank), `tied` (how many wrong answers score the same),
        `hit_1`, `hit_5`, `hit_10` (the probability that a right answer is among the first K, 0 or 1
        where nothing ties; their means are the recalls), `right` and `right_score` (index and
        cosine of that answer), `wrong` and `wrong_score` (the best wrong answer: -1 and NaN where
        there is none), `lead` = right_score - wrong_score, negative where the query failed; with
        names also `query_name`, `right_name`, `wrong_name`; with judgements also `wrong_fits`, True
        where the answer that the data set calls wrong is right by them.

    Raises:
        ValueError: as `mmret_lib.metrics.evaluate`, and for names that are too few or too many.
    """
    image_rows, texts, owners = check_pool(image_emb, text_emb, owner)
    for title, names, rows in (("images", images, image_rows), ("captions", captions, texts)):
        if names is not None and len(names) != len(rows):
            raise ValueError(f"{title} holds {len(names)} names for {len(rows)} rows")
    i2t_counts, t2i_counts = embedding_ranks(image_rows, texts, owners)
    with full_precision(image_rows.device.type):
        i2t_best, t2i_best = _best_answers(image_rows, texts, owners)
    parts = []
    for way, counts, best, names, answers in (
        ("i2t", i2t_counts, i2t_best, images, captions),
        ("t2i", t2i_counts, t2i_best, captions, images),
    ):
        part = pd.DataFrame({"direction": way, "query": np.arange(len(counts.better))})
        part["rank"], part["tied"] = counts.ranks + 1, counts.tied
        for k in KS:
            part[f"hit_{k}"] = counts.hits(k)
        part = part.assign(**best)
        part["lead"] = part["right_score"] - part["wrong_score"]
        if names is not None:
            part["query_name"] = [str(name) for name in names]
        if answers is not None:
            part["right_name"] = [str(answers[answer]) for answer in part["right"]]
            part["wrong_name"] = [str(answers[a]) if a >= 0 else "" for a in part["wrong"]]
        if judgements is not None:
            known = set(map(tuple, getattr(judgements, way).tolist()))
            part["wrong_fits"] = [pair in known for pair in enumerate(part["wrong"].tolist())]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _best_answers(
    images: Tensor, texts: Tensor, owner: Owner
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns right, right_score, wrong and wrong_score, of images (N,) and captions (M,)."""
    owners = torch.from_numpy(owner).to(images.device)
    all_images = torch.arange(len(images), device=images.device)
    all_texts = torch.arange(len(texts), device=images.device)
    pair_scores = PairScores(images, texts)
    own = pair_scores(owners, all_texts)  # (M,)
    # Sorted by image and then by score, an image's best caption is its last.
    order = np.lexsort((own.cpu().numpy(), owner))
    right = torch.from_numpy(order[np.cumsum(np.bincount(owner)) - 1]).to(images.device)

    # The best wrong answers by float32 scores; index 0 for captions, 1 for images.
    image_unit, text_unit = pair_scores.float32()
    wrong = [torch.full_like(every, -1) for every in (all_texts, all_images)]
    score = [torch.full_like(every, -math.inf, dtype=torch.float32) for every in wrong]
    for columns in slices(len(texts), TILE):
        for rows in slices(len(images), TILE):
            block = image_unit[rows] @ text_unit[columns].T  # (R, C)
            block[own_entries_of(owners[columns], rows)] = -math.inf
            for dim, (lines, start) in enumerate(((columns, rows.start), (rows, columns.start))):
                best, place = block.max(dim)
                better = best > score[dim][lines]
                score[dim][lines] = torch.where(better, best, score[dim][lines])
                wrong[dim][lines] = torch.where(better, place + start, wrong[dim][lines])

    def as_columns(
        right: Tensor, right_score: Tensor, wrong: Tensor, wrong_score: Tensor
    ) -> dict[str, Any]:
        wrong_score = torch.where(wrong >= 0, wrong_score, math.nan)
        columns = {"right": right, "right_score": right_score}
        columns |= {"wrong": wrong, "wrong_score": wrong_score}
        return {name: values.cpu().numpy() for name, values in columns.items()}

    wrong_texts, wrong_images = wrong[1], wrong[0]
    return (
        as_columns(
            right, own[right], wrong_texts, pair_scores(all_images, wrong_texts.clamp(min=0))
        ),
        as_columns(owners, own, wrong_images, pair_scores(wrong_images.clamp(min=0), all_texts)),
    )
