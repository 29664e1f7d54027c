"""The recall of a ranking in random order, to read other results beside."""

from collections.abc import Iterable, Sequence

import numpy as np

from mmret_lib.metrics.inputs import Array, check_ks, check_owner


def chance(owner: Array | Sequence[int], ks: Iterable[int] = (1, 5, 10)) -> dict[str, float]:
    """Compute the expected recalls, in percent, of answers in random order.

    An image with c of the M captions has one of them among the first K with the probability
    1 - (M - c)/M * (M - c - 1)/(M - 1) * …, K factors; a caption finds its image, one of N, with
    the probability K / N.

    Args:
        owner: (M,) integers, the image of each caption; every image needs at least one.
        ks: the K of recall@K.

    Returns:
        "i2t_r1" …, "t2i_r1" …, named as in `Report.as_dict`.

    Raises:
        ValueError: owners that skip an image, or a K below 1.

    Example:
        >>> round(chance([0, 0, 1, 1])["t2i_r1"])  # one of two images
        50
    """
    owners = np.asarray(owner)
    images, captions = int(owners.max(initial=-1)) + 1, len(owners)
    own = np.bincount(check_owner(owner, images, captions))  # (N,) captions of each image
    recalls = {}
    for k in check_ks(ks):
        drawn = np.arange(min(k, captions))[:, None]  # (K, 1)
        missed = np.clip((captions - own - drawn) / (captions - drawn), 0, None).prod(axis=0)
        recalls[f"i2t_r{k}"] = float(100 * (1 - missed).mean())
    return recalls | {f"t2i_r{k}": 100 * min(k, images) / images for k in check_ks(ks)}
