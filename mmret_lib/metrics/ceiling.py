"""How high a recall can be: exactly, for the built-in world; for photos, as far as captions say.

In the built-in world, captions say only part of what a scene shows, so even a reader who knew how
the world was made would confuse some scenes. Such a reader ranks by the generator's own
probabilities:

- text -> image: images by P(caption | scene), which with every image equally likely beforehand is
  also the order of P(scene | caption);
- image -> text: captions by P(scene | caption), how likely it is that the caption was written for
  this image and not for another of the pool. P(caption | scene) itself would be the wrong order
  here: a caption that fits everything is likely for each image and tells of none.

No ranking that scores each image-caption pair by itself has a higher expected R@1 (scores tie where
the generator's probabilities do, and ties count at their expectation). A system that matches all
images with all captions of the pool at once can beat it: a caption that surely belongs to one image
belongs to no other.

Nobody knows P(caption | photo), but other people described the same photo: `captions_ceiling` puts
their captions in the photo's place.
"""

from collections.abc import Sequence

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.world.scenes import caption_log_likelihood
from mmret_lib.metrics.inputs import Array, check_embeddings, check_owner
from mmret_lib.metrics.report import Report, report_from_scores

# To be printed beside the ceiling.
CEILING_NOTE = "of a system that scores each pair by itself; matching all pairs at once can beat it"
DIGITS = 9  # of a score; what differs beyond them is rounding, and ties


def best_possible(pairs: Pairs) -> Report:
    """Report the recalls of the best possible ranking, to read other results beside.

    It is the best that a system which scores each pair of image and caption by itself can reach.

    Raises:
        DataError: pairs that do not come from the built-in world.
    """
    t2i = caption_log_likelihood(pairs)  # (images, captions)
    highest = t2i.max(axis=0, initial=-np.inf)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):  # a wrong caption may fit no scene of the pool: log 0
        evidence = highest + np.log(np.exp(t2i - highest).sum(axis=0))  # log-sum-exp over images
    fits_any = np.isfinite(evidence)
    i2t = np.where(fits_any, t2i - np.where(fits_any, evidence, 0.0), -np.inf)
    # Equal probabilities differ in the last bits where they were computed from different terms.
    return report_from_scores(i2t.round(DIGITS), t2i.round(DIGITS), owner=pairs.owner)


def captions_ceiling(caption_emb: Array, owner: Array | Sequence[int]) -> Report:
    """Report the recalls of a system that has read what other people wrote of each photo.

    Each photo is represented by its captions without the one that asks or is ranked: by the mean of
    their unit vectors. Of every other photo one caption is left out as well, the one at the same
    place among its captions, so that no photo is described by more captions than another.

    Where this system errs, the words of one person fit another photo at least as well as what four
    others wrote of the right one: mostly because several photos show the same, at times because
    people name different things in one photo, or the text encoder misjudges them. So it is a
    reference and no bound: a model that sees the photos can pass it.

    Args:
        caption_emb: (M, D), all captions as a good text encoder embeds them, of any length.
        owner: (M,) integers, the image of each caption; captions of one image stand together.

    Raises:
        ValueError: embeddings or owners that cannot be ranked, or an image with only one caption.
    """
    emb = check_embeddings(caption_emb, caption_emb)[0].cpu().double().numpy()
    emb = emb / np.maximum(np.linalg.norm(emb, axis=1, keepdims=True), 1e-12)
    images = int(np.max(owner)) + 1
    owner = check_owner(owner, images, len(emb))
    counts = np.bincount(owner)
    if counts.min() < 2:
        raise ValueError(
            f"image {counts.argmin()} has one caption: without it nothing would describe the image"
        )
    places = np.arange(len(emb)) - np.searchsorted(owner, owner)  # 0, 1, … within each image
    total = np.zeros((images, emb.shape[1]))
    np.add.at(total, owner, emb)
    scores = np.empty((images, len(emb)))
    for place in range(counts.max()):
        asking = places == place
        others = total.copy()  # (N, D): the captions of each image but the one at this place
        others[owner[asking]] -= emb[asking]
        others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
        scores[:, asking] = others @ emb[asking].T
    return report_from_scores(scores.round(DIGITS), owner=owner)
