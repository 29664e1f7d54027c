"""The formulas of exercise 02, and the ways to get them wrong.

`convolution`, the residual `blocks`, `pools` and receptive `fields`.
"""
