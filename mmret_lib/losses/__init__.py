"""The losses, and the one idea in which they differ: how a loss weighs its negatives."""

from mmret_lib.losses.base import PairLoss, negative_weights
from mmret_lib.losses.losses import LOSSES, BarlowTwins, MaxTriplet, SimCLR, SumTriplet

__all__ = [
    "LOSSES",
    "BarlowTwins",
    "MaxTriplet",
    "PairLoss",
    "SimCLR",
    "SumTriplet",
    "negative_weights",
]
