"""How tied answers count: a rank and a recall are their expectation over the order of ties.

Where wrong answers have the very score of the right one, the ranking does not say which of them
comes first, and every order of theirs is equally likely. Say `better` wrong answers score above the
best right one, `tied` wrong answers score the same, and so do `own_tied` right ones, itself
included. Among the first K answers there are then m = K - better of these tied + own_tied, drawn
without replacement, and the query is a hit unless all m are wrong:

    hit(K) = 1 - C(tied, m) / C(tied + own_tied, m),   0 for m <= 0, 1 for m > tied

(the hypergeometric distribution). With one right answer this is min(1, max(0, m / (tied + 1))).
Recall@K is the mean of the hits. A model that gives everything the same score then has the recall
of a random order, K / N among N images.

Putting the expected rank, better + tied / 2, in the place of the rank would not do: with K = 1, two
tied at the top would be a hit (rank 0.5) and three a miss (rank 1), though the right one comes
first in 1/2 and in 1/3 of the orders.

Source: McSherry & Najork, Computing information retrieval performance measures efficiently in the
presence of tied scores, ECIR 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankCounts:
    """Which answers stand above and beside the best right one; Q queries, all (Q,).

    Attributes:
        better: wrong answers that score above the best right one.
        tied: wrong answers that score the same.
        own_tied: right answers that score the same, itself included, so at least 1.

    Example:
        >>> counts = RankCounts(np.array([0]), np.array([2]), np.array([1]))
        >>> counts.ranks.item(), round(counts.hits(1).item(), 3)
        (1.0, 0.333)
    """

    better: Counts
    tied: Counts
    own_tied: Counts

    @property
    def ranks(self) -> Floats:
        """(Q,) ranks from 0: each tied wrong answer counts one half."""
        return self.better + self.tied / 2

    def hits(self, k: int) -> Floats:
        """(Q,) how probable it is that one of the first k answers is right, 0 to 1.

        Without ties 0 or 1. The formula stands above; its two binomial coefficients, which may
        overflow, are never computed.
        """
        first = k - self.better  # m: how many of those that tie are among the first k
        hits = (first > 0).astype(np.float64)
        undecided = np.flatnonzero((first > 0) & (first <= self.tied))
        if not len(undecided):
            return hits
        # Draw the members of the smaller of two sets, the first m and the right ones, one by one:
        # is any of the larger set among them? Sums of positive terms lose no digits.
        few, many = np.sort([first[undecided], self.own_tied[undecided]], axis=0)
        total = self.tied[undecided] + self.own_tied[undecided]
        found, missed = np.zeros(len(undecided)), np.ones(len(undecided))
        for drawn in range(few.max()):
            chance = np.where(drawn < few, many / (total - drawn).clip(min=1), 0.0)
            found += missed * chance
            missed *= 1 - chance
        hits[undecided] = found.clip(max=1.0)
        return hits

    @staticmethod
    def joined(parts: Sequence[RankCounts]) -> RankCounts:
        """The counts of several sets of queries, one after the other."""
        return RankCounts(
            np.concatenate([part.better for part in parts]),
            np.concatenate([part.tied for part in parts]),
            np.concatenate([part.own_tied for part in parts]),
        )
