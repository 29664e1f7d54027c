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
DEFAULT = "dim=1 is the default"
EQUIVALENT: dict[str, dict[str, str]] = {
    "top_k": {
        "without dim= in `F.normalize(emb, dim=1)`": DEFAULT,
        "without normalize in `F.normalize(query_emb, dim=0)`": (
            "the query's length multiplies all scores, and changes no order"
        ),
        "0 -> -1 in `F.normalize(query_emb, dim=0)`": "the query has one axis",
    },
    "recall_at_1": {
        "without dim= in `F.normalize(image_emb, dim=1)`": DEFAULT,
        "without dim= in `F.normalize(text_emb, dim=1)`": DEFAULT,
    },
}
