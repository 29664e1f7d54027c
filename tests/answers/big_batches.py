"""The answers to exercise 12."""

from mmret_lib.checks import big_batches

from . import (
    big_batches_caching,
    big_batches_cells,
    big_batches_gathering,
    big_batches_probing,
    big_batches_tiles,
)

CHECKS = {
    "cached_gradients": big_batches.check_cached_gradients,
    "log_sum_exp_in_tiles": big_batches.check_log_sum_exp_in_tiles,
    "all_gather_loss": big_batches.check_all_gather_loss,
    "cells": big_batches.check_cells,
    "search_cells": big_batches.check_search_cells,
}
RIGHT = {
    "cached_gradients": big_batches_caching.RIGHT,
    "log_sum_exp_in_tiles": big_batches_tiles.RIGHT,
    "all_gather_loss": big_batches_gathering.RIGHT,
    "cells": big_batches_cells.RIGHT,
    "search_cells": big_batches_probing.RIGHT,
}
WRONG = {
    "cached_gradients": big_batches_caching.WRONG,
    "log_sum_exp_in_tiles": big_batches_tiles.WRONG,
    "all_gather_loss": big_batches_gathering.WRONG,
    "cells": big_batches_cells.WRONG,
    "search_cells": big_batches_probing.WRONG,
}
ZIPS = (
    "zip(branches, batch, strict=True)",
    "zip(branches, batch, cache, strict=True)",
    "zip(total, parts, strict=True)",
)
LONG = "what is taken together has two entries, or one for each parameter, in every call"
EVEN = "a norm does not depend on the sign"
EQUIVALENT: dict[str, dict[str, str]] = {
    "cached_gradients": {
        **{f"without strict= in `{each}`": LONG for each in ZIPS},
        **{f"True -> False in `{each}`": LONG for each in ZIPS},
        "arguments swapped in `zip(total, parts, strict=True)`": "a sum has no order",
        "0 -> 1 in `batch[0]`": "both sides have B rows",
        "0 -> -1 in `batch[0]`": "both sides have B rows",
    },
    "log_sum_exp_in_tiles": {
        "arguments swapped in `torch.logaddexp(total, part)`": "a sum has no order",
        "-> (0, 0) in `rows[:, 0]`": "logaddexp broadcasts a single -inf to all rows",
        "0 -> -1 in `rows[:, 0]`": "any column has the shape that is wanted",
    },
    "search_cells": {
        "0 -> -1 in `torch.isin(assigned, nearest).nonzero()[:, 0]`": "there is one column",
        "terms swapped in `vectors[members] - query`": EVEN,
        "terms swapped in `centres - query`": EVEN,
    },
}
