"""The losses of the atlas in the settings that several files of tests/losses/atlas use."""

from collections.abc import Callable
from functools import partial

from mmret_lib.losses import MaxTriplet, SumTriplet
from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    FalseNegativeFilter,
    HardNegativeNCE,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
    SmoothAP,
    TopKTriplet,
)

# Settings beside the defaults, at which small random batches push on several negatives.
MADE: dict[str, Callable] = {
    "margin_softmax": MarginSoftmax,
    "margin_softmax, 0.5, 0.2": partial(MarginSoftmax, 0.5, 0.2),
    "margin_softmax, no margin": partial(MarginSoftmax, 0.0),
    "top_k_triplet": TopKTriplet,
    "top_k_triplet, 2": partial(TopKTriplet, 2, 0.7),
    "multi_similarity": MultiSimilarity,
    "multi_similarity, 3, 5, 0": partial(MultiSimilarity, 3.0, 5.0, 0.0),
    "siglip": SigLIP,
    "siglip, fixed": partial(SigLIP, 5.0, -1.5, learnable=False),
    "smooth_ap": SmoothAP,
    "smooth_ap, 0.2": partial(SmoothAP, 0.2),
    "hard_negative_nce": HardNegativeNCE,
    "hard_negative_nce, 0.3, 4": partial(HardNegativeNCE, 0.3, 4.0),
    "adaptive_nce": AdaptiveNCE,
    "adaptive_nce, 0.1": partial(AdaptiveNCE, 0.2, 0.1, 0.1),
}
FILTERED: dict[str, Callable] = {
    f"filtered {name}": lambda make=make: FalseNegativeFilter(make())
    for name, make in {
        "SumTriplet": SumTriplet,
        "MaxTriplet": partial(MaxTriplet, 0.5),
        **{name: MADE[name] for name in ("top_k_triplet", "siglip", "smooth_ap", "adaptive_nce")},
    }.items()
}
