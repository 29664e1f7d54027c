"""The best recall that any system can reach on the built-in world.

Captions say only part of what a scene shows, so even a reader who knew how the world was made
would confuse some scenes. Such a reader ranks by the generator's own probabilities:

- text -> image: images by P(caption | scene), which with every image equally likely beforehand is
  also the order of P(scene | caption);
- image -> text: captions by P(scene | caption), how likely it is that the caption was written for
  this image and not for another of the pool. P(caption | scene) itself would be the wrong order
  here: a caption that fits everything is likely for each image and tells of none.

No ranking that scores each image-caption pair by itself has a higher expected R@1.
"""

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.world.scenes import caption_log_likelihood
from mmret_lib.metrics.report import Report, report_from_scores


def best_possible(pairs: Pairs) -> Report:
    """Report the recalls of the best possible ranking, to read other results beside.

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
    return report_from_scores(i2t, t2i, owner=pairs.owner)
