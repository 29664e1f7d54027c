"""The answers to exercise 08."""

from answers import (
    metrics_bootstrap,
    metrics_bootstrap_more,
    metrics_judged,
    metrics_ranks,
    metrics_recalls,
)
from mmret_lib.checks import metrics

CHECKS = {
    "ranks": metrics.check_ranks,
    "recall_at_k": metrics.check_recall_at_k,
    "median_rank": metrics.check_median_rank,
    "bootstrap_interval": metrics.check_bootstrap_interval,
    "judged_recall": metrics.check_judged_recall,
}
RIGHT = {
    "ranks": metrics_ranks.RIGHT,
    "recall_at_k": metrics_recalls.RIGHT_RECALL,
    "median_rank": metrics_recalls.RIGHT_MEDIAN,
    "bootstrap_interval": metrics_bootstrap.RIGHT,
    "judged_recall": metrics_judged.RIGHT,
}
WRONG = {
    "ranks": metrics_ranks.WRONG,
    "recall_at_k": metrics_recalls.WRONG_RECALL,
    "median_rank": metrics_recalls.WRONG_MEDIAN,
    "bootstrap_interval": metrics_bootstrap.WRONG | metrics_bootstrap_more.WRONG,
    "judged_recall": metrics_judged.WRONG,
}
EQUIVALENT: dict[str, dict[str, str]] = {
    "ranks": {
        "scores -> owner in `scores.device`": "both are on one device",
        "left term alone in `(scores > right) & ~own`": "no own entry is above the best own one",
    },
    "bootstrap_interval": {
        f"2000 -> {count} in `torch.randint(len(each), (2000, len(each)), generator=generator)`": (
            "about as many draws, or more, serve as well"
        )
        for count in (2001, 1999, 4000)
    },
    "judged_recall": {
        "left term alone in `(scores > best) & ~right`": "no right answer is above the best one",
        "arguments swapped in `min(max(k - b, 0), t + s)`": "the smaller one, in either order",
        "arguments swapped in `max(k - b, 0)`": "the larger one, in either order",
        "True -> False in `zip(better.tolist(), tied.tolist(), equal.tolist(), strict=True)`": (
            "the three are equally long"
        ),
        "without strict= in `zip(better.tolist(), tied.tolist(), equal.tolist(), strict=True)`": (
            "the three are equally long"
        ),
    },
}
