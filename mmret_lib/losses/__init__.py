"""The losses, and the one idea in which they differ: how a loss weighs its negatives.

Every loss raises a pair's similarity s_bb above the similarities s_bk to the other pairs of the
batch. The losses differ in how hard they push each negative k away from query b, which is the
gradient of the loss with respect to s_bk; `negative_weights` returns it for a batch:

    SumTriplet   every negative that comes within the margin, all alike      triplet.py
    MaxTriplet   the hardest negative alone                                  triplet.py
    SimCLR       all, as a softmax over s_bk / temperature                   simclr.py
    BarlowTwins  has no negatives; it still pushes image b from image k,     barlow.py
                 as hard as their texts resemble each other

The `atlas` holds eight more of the literature. All are called in the same way, on a CPU or a GPU,
inside autocast or not (`PairLoss.forward`). `EVERY_LOSS` finds all twelve by name. A new loss is
one file and an entry in `LOSSES`: `base` shows how. `negatives` finds the negatives of a batch,
`tiles` (with `reductions`) computes batches of more than 256 pairs, and `within` adds terms within
a branch.
"""

from collections import ChainMap

from mmret_lib.losses.atlas import ATLAS
from mmret_lib.losses.barlow import BarlowTwins
from mmret_lib.losses.base import PairLoss
from mmret_lib.losses.negatives import negative_weights
from mmret_lib.losses.simclr import SimCLR
from mmret_lib.losses.triplet import MaxTriplet, SumTriplet

LOSSES: dict[str, type[PairLoss]] = {
    "sum_triplet": SumTriplet,
    "max_triplet": MaxTriplet,
    "simclr": SimCLR,
    "barlow_twins": BarlowTwins,
}

EVERY_LOSS: ChainMap[str, type[PairLoss]] = ChainMap(LOSSES, ATLAS)

__all__ = [
    "ATLAS",
    "EVERY_LOSS",
    "LOSSES",
    "BarlowTwins",
    "MaxTriplet",
    "PairLoss",
    "SimCLR",
    "SumTriplet",
    "negative_weights",
]
