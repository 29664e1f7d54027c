"""An atlas of weightings: eight more losses, under the names they were published by.

Every one is a loss like the four of the course and differs from them in how it weighs its
negatives. s is a negative's cosine with its query, p the positive's, t a temperature:

    MarginSoftmax        softmax(s / t), once s > p - margin     margin_softmax.py
    TopKTriplet          the k hardest alike, within the margin  top_k_triplet.py
    MultiSimilarity      softmax(beta s), once s > base          multi_similarity.py
    SigLIP               sigmoid(scale s + bias), each alone     siglip.py
    SmoothAP             those beside the positive               smooth_ap.py
    HardNegativeNCE      softmax((1 / t + beta) s)               hard_negative_nce.py
    AdaptiveNCE          softmax(s / t) times a bell around mu   adaptive_nce.py
    FalseNegativeFilter  as in another loss, without the         false_negative_filter.py
                         negatives that a guide calls right

Batches of more than 256 pairs are computed in tiles: `in_tiles`, with `reductions`.
"""

from mmret_lib.losses.atlas.adaptive_nce import AdaptiveNCE
from mmret_lib.losses.atlas.false_negative_filter import FalseNegativeFilter
from mmret_lib.losses.atlas.hard_negative_nce import HardNegativeNCE
from mmret_lib.losses.atlas.margin_softmax import MarginSoftmax
from mmret_lib.losses.atlas.multi_similarity import MultiSimilarity
from mmret_lib.losses.atlas.siglip import SigLIP
from mmret_lib.losses.atlas.smooth_ap import SmoothAP
from mmret_lib.losses.atlas.top_k_triplet import TopKTriplet
from mmret_lib.losses.base import PairLoss

ATLAS: dict[str, type[PairLoss]] = {
    "margin_softmax": MarginSoftmax,
    "top_k_triplet": TopKTriplet,
    "multi_similarity": MultiSimilarity,
    "siglip": SigLIP,
    "smooth_ap": SmoothAP,
    "hard_negative_nce": HardNegativeNCE,
    "adaptive_nce": AdaptiveNCE,
    "false_negative_filter": FalseNegativeFilter,
}

__all__ = [
    "ATLAS",
    "AdaptiveNCE",
    "FalseNegativeFilter",
    "HardNegativeNCE",
    "MarginSoftmax",
    "MultiSimilarity",
    "SigLIP",
    "SmoothAP",
    "TopKTriplet",
]
