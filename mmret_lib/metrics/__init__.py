"""Exact retrieval metrics: ranks, recall@K, mean and median rank, with confidence intervals.

`ranks` counts for every query how many wrong answers score above its right one, and how many the
same; `ties` computes ranks and expected hits from these counts, `report` recall@K, mean and median
rank. `failures` lists every query with its rank and the
best wrong answer: open it to ask why a rank is 3. `intervals` estimates how sure a figure is and
compares two runs, `judged` counts further right answers, `ceiling` computes the best possible
recall, or the one that people's captions allow, `chance` that of a random order, and `inputs`
checks what is to be ranked. `published` says which papers' figures a recall may be compared with,
and `diagnosis` whether embeddings have collapsed or one item is the first answer to many queries.
"""

from mmret_lib.metrics.report import Report, evaluate, report_from_scores

__all__ = ["Report", "evaluate", "report_from_scores"]
