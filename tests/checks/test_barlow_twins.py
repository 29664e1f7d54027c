"""The formulas of exercise 06 are the library's and torch's own."""

import torch
from torch import nn

from mmret_lib.checks import barlow_twins as tasks
from mmret_lib.checks.engine.arguments import close
from mmret_lib.losses import BarlowTwins


def test_standardise_is_batch_norm_without_parameters() -> None:
    for case in tasks.STANDARDISE_TASK.cases:
        emb, *eps = case.args
        layer = nn.BatchNorm1d(emb.shape[1], *eps, affine=False, dtype=emb.dtype)
        assert close(layer(emb), tasks.STANDARDISE_TASK.right(*case.args))


def test_the_loss_is_the_librarys() -> None:
    for case in tasks.BARLOW_TASK.cases:
        image_emb, text_emb, lambda_ = case.args
        assert close(BarlowTwins(lambda_)(image_emb, text_emb), tasks.BARLOW_TASK.right(*case.args))


def test_the_hidden_pairs_are_the_squares_of_the_cross_correlation() -> None:
    for case in tasks.HIDDEN_TASK.cases:
        correlation = tasks.CORRELATION_TASK.right(*case.args)  # (D, D)
        on = correlation.diagonal().square().sum()
        off, found_on = tasks.HIDDEN_TASK.right(*case.args)
        assert close(found_on, on)
        assert close(off, correlation.square().sum() - on)


def test_the_running_statistics_are_those_of_batch_norm() -> None:
    for case in tasks.RUNNING_TASK.cases:
        batches, momentum = case.args
        layer = nn.BatchNorm1d(
            batches[0].shape[1], momentum=momentum, affine=False, dtype=torch.float64
        )
        for batch in batches:
            layer(batch)
        mean, variance = tasks.RUNNING_TASK.right(batches, momentum)
        assert close(layer.running_mean, mean)
        assert close(layer.running_var, variance)
