"""Exact retrieval metrics: ranks, recall@K, and what can be said of them.

`ranks` counts for every query how many wrong answers beat its right one; `report` makes recall@K,
mean and median rank of that; `intervals` says how sure they are, `judged` counts further right
answers, `failures` lists the worst queries, `ceiling` the best recall that is possible.
"""

from mmret_lib.metrics.report import Report, evaluate, report_from_scores

__all__ = ["Report", "evaluate", "report_from_scores"]
