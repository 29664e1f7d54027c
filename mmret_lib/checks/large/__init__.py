"""What exercise 12 computes with more pairs, processes and vectors, and the ways to get it wrong.

`cases` has what the tasks are tried on, made of `losses`. `caching` is the gradient of a batch in
pieces and `watching` how much of the batch waits for it; `tiling` the log-sum-exp of a matrix that
is never whole, `gathering` the loss that several processes share, `partition` the cells of k-means
and `probing` a search in the nearest of them. `making` looks at the tensors that a function makes.
"""
