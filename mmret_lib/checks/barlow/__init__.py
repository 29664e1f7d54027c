"""The formulas of exercise 06 and the ways to get them wrong.

`standardising`, `correlations`, `loss`, the `hidden` pairs, and `running` statistics.
"""
