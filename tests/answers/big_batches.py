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
EQUIVALENT: dict[str, dict[str, str]] = {}
