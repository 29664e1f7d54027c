"""Query by query: what was asked, where the right answer came, and what came before it.

A recall hides what kind of question a model fails at. This table shows it: sorted by rank, the
worst failures stand on top, each with the wrong answer that the model preferred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmret_lib.data.judgements import Judgements
from mmret_lib.metrics.rankable import Array, check_embeddings, check_owner
from mmret_lib.metrics.ranks import PairScores, embedding_ranks, full_precision, slices

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
    """One row for each query, N images and then M captions; every rank is within the whole pool.

    >>> table = query_table(image_emb, text_emb, pairs.owner, captions=pairs.captions)
    >>> table[table.direction == "t2i"].sort_values("rank", ascending=False).head(20)

    Args:
        image_emb, text_emb, owner: (N, D), (M, D), (M,), as in `mmret_lib.metrics.evaluate`.
        images, captions: names of the N images (such as their files) and the M captions, to stand
            beside the indices.
        judgements: who knows of more right answers, such as `scene_truth(pairs)`.

    Returns:
        Columns `direction` ("i2t" or "t2i"), `query` (index), `rank` (of the best right answer,
        from 1, ties at their expected rank), `right` and `right_score` (index and cosine of that
        answer), `wrong` and `wrong_score` (the best wrong answer: -1 and NaN where there is none),
        `lead` = right_score - wrong_score, negative where the query failed; with names also
        `query_name`, `right_name`, `wrong_name`; with judgements also `wrong_fits`, True where the
        answer that the data set calls wrong is right by them.

    Raises:
        ValueError: as `mmret_lib.metrics.evaluate`, and for names that are too few or too many.
    """
    image_rows, texts = check_embeddings(image_emb, text_emb)
    owners = check_owner(owner, len(image_rows), len(texts))
    for title, names, wanted in (("images", images, image_rows), ("captions", captions, texts)):
        if names is not None and len(names) != len(wanted):
            raise ValueError(f"{title} holds {len(names)} names for {len(wanted)} rows")
    i2t_ranks, t2i_ranks = embedding_ranks(image_rows, texts, owners)
    with torch.no_grad(), full_precision(image_rows.device.type):
        i2t_best, t2i_best = _best_answers(image_rows, texts, owners)
    parts = []
    fits = judgements
    for way, ranks, (right, right_score, wrong, wrong_score), names, answers, judged in (
        ("i2t", i2t_ranks, i2t_best, images, captions, fits.i2t if fits else None),
        ("t2i", t2i_ranks, t2i_best, captions, images, fits.t2i if fits else None),
    ):
        columns: dict[str, object] = {
            "direction": way,
            "query": np.arange(len(ranks)),
            "rank": ranks + 1,
            "right": right,
            "right_score": right_score,
            "wrong": wrong,
            "wrong_score": wrong_score,
            "lead": right_score - wrong_score,
        }
        if names is not None:
            columns["query_name"] = [str(name) for name in names]
        if answers is not None:
            columns["right_name"] = [str(answers[answer]) for answer in right]
            columns["wrong_name"] = [str(answers[a]) if a >= 0 else "" for a in wrong]
        if judged is not None:
            known = set(map(tuple, judged.tolist()))
            columns["wrong_fits"] = [pair in known for pair in enumerate(wrong.tolist())]
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


Best = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _best_answers(images: Tensor, texts: Tensor, owner: np.ndarray) -> tuple[Best, Best]:
    """For images (N,) and captions (M,): best right answer and score, best wrong one and score."""
    device = images.device
    owners = torch.from_numpy(owner).to(device)
    everyone = torch.arange(len(owner), device=device)
    pair_scores = PairScores(images, texts)
    own = pair_scores(owners, everyone)  # (M,)
    # Sorted by image and then by score, an image's best caption is its last.
    order = np.lexsort((own.cpu().numpy(), owner))
    right = torch.from_numpy(order[np.cumsum(np.bincount(owner)) - 1]).to(device)

    image_unit, text_unit = pair_scores.float32()
    wrong = [torch.full((len(rows),), -1, device=device) for rows in (texts, images)]
    score = [torch.full((len(rows),), -math.inf, device=device) for rows in (texts, images)]
    for columns in slices(len(texts), TILE):
        for rows in slices(len(images), TILE):
            block = image_unit[rows] @ text_unit[columns].T  # (R, C)
            row_of = owners[columns]
            inside = ((row_of >= rows.start) & (row_of < rows.stop)).nonzero()[:, 0]
            block[row_of[inside] - rows.start, inside] = -math.inf
            for dim, (lines, start) in enumerate(((columns, rows.start), (rows, columns.start))):
                best, place = block.max(dim)
                better = best > score[dim][lines]
                score[dim][lines] = torch.where(better, best, score[dim][lines])
                wrong[dim][lines] = torch.where(better, place + start, wrong[dim][lines])

    def numbers(right: Tensor, right_score: Tensor, wrong: Tensor, exact: Tensor) -> Best:
        exact = torch.where(wrong >= 0, exact, math.nan)
        return tuple(part.cpu().numpy() for part in (right, right_score, wrong, exact))  # type: ignore[return-value]

    all_images = torch.arange(len(images), device=device)
    return (
        numbers(right, own[right], wrong[1], pair_scores(all_images, wrong[1].clamp(min=0))),
        numbers(owners, own, wrong[0], pair_scores(wrong[0].clamp(min=0), everyone)),
    )
