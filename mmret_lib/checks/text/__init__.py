"""The formulas of exercise 03 in steps, each with the ways to get it wrong.

`attention`, the `pooling` of states, the loss of `distillation` and word `pieces` are its tasks,
`cases` has what they are tried on.
"""
