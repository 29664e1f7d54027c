"""The formulas of exercise 04, and the ways to get them wrong.

`hinges` has the sum and the maximum, `duplicates` which pairs are no negatives, `semi_hard` the
choice of a negative, `weights` how a loss weighs them all, and `cases` the batches.
"""
