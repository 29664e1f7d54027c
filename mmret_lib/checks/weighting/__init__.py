"""The formulas of exercise 14, and the ways to get them wrong.

`batches` is what its losses share, `margin_softmax`, `top_k`, `siglip` and `smooth_ap` are the
losses, `directions` has losses of one direction to question, and `shares` what their answers are.
"""
