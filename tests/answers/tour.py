"""The answers to exercise 00."""

from mmret_lib.checks import tour

from . import tour_heads, tour_search

CHECKS = {
    "top_k": tour.check_top_k,
    "recall_at_1": tour.check_recall_at_1,
    "train_heads": tour.check_train_heads,
}
RIGHT = {
    "top_k": tour_search.RIGHT_TOP,
    "recall_at_1": tour_search.RIGHT_RECALL,
    "train_heads": tour_heads.RIGHT,
}
WRONG = {
    "top_k": tour_search.WRONG_TOP,
    "recall_at_1": tour_search.WRONG_RECALL,
    "train_heads": tour_heads.WRONG,
}
