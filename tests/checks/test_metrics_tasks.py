"""The formulas of exercise 08 are the library's."""

import numpy as np
import torch

from mmret_lib.checks import metrics as tasks
from mmret_lib.checks.ranking.bootstrap import bootstrap_interval
from mmret_lib.checks.ranking.intervals import BATCHES, CLOSE, spread
from mmret_lib.metrics import report_from_scores
from mmret_lib.metrics.ranks import score_ranks
from mmret_lib.metrics.ties import RankCounts


def test_the_counts_are_the_librarys() -> None:
    for case in tasks.RANKS_TASK.cases:
        scores, owner = case.args
        for ours, theirs in zip(
            tasks.RANKS_TASK.right(scores, owner), score_ranks(scores, owner.numpy()), strict=True
        ):
            assert ours[0].tolist() == theirs.better.tolist()
            assert ours[1].tolist() == theirs.tied.tolist()


def test_the_recalls_are_the_librarys() -> None:
    for case in tasks.RECALL_TASK.cases:
        better, tied, k = case.args
        counts = RankCounts(better.numpy(), tied.numpy(), np.ones(len(better), dtype=np.int64))
        assert np.isclose(100 * counts.hits(k).mean(), tasks.RECALL_TASK.right(better, tied, k))


def test_the_median_is_the_librarys() -> None:
    scores = torch.randn(6, 24, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    owner = torch.arange(6).repeat_interleave(4)
    report = report_from_scores(scores, owner=owner.tolist())
    for way in (report.i2t, report.t2i):
        assert tasks.MEDIAN_TASK.right(torch.tensor(way.ranks)) == way.median_rank


def test_several_right_answers_are_counted_as_the_library_counts_an_images_captions() -> None:
    for levels in (2, 5, 0):
        scores = tasks.scores(6, 24, levels, levels)
        owner = torch.arange(24) % 6
        right = owner == torch.arange(6)[:, None]
        counts, _ = score_ranks(scores, owner.numpy())
        for k in (1, 3, 30):
            ours = tasks.JUDGED_TASK.right(scores, right, k)
            assert np.isclose(ours, 100 * counts.hits(k).mean())


def test_the_interval_of_one_seed_is_near_that_of_many_draws() -> None:
    for values, level, _ in BATCHES:
        few, many = (
            torch.tensor(
                bootstrap_interval(values, torch.Generator().manual_seed(draws), level, draws=draws)
            )
            for draws in (2000, 40_000)
        )
        assert (few - many).abs().max() < 3 * CLOSE * spread(values)
