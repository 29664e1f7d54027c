"""The recalls of chance, against random rankings and by hand."""

import numpy as np
import pytest

from mmret_lib.metrics.chance import chance
from mmret_lib.metrics.report import report_from_scores


def test_of_two_images_with_one_caption_each_half_are_found_first():
    assert chance([0, 1], ks=[1, 2]) == {
        "i2t_r1": 50.0,
        "i2t_r2": 100.0,
        "t2i_r1": 50.0,
        "t2i_r2": 100.0,
    }


def test_random_scores_come_near_it():
    owner = np.repeat(np.arange(40), [1, 5, 2, 7] * 10)  # images with unequal counts of captions
    rng = np.random.default_rng(0)
    reports = [
        report_from_scores(rng.random((40, len(owner))), owner=owner).as_dict() for _ in range(300)
    ]
    for name, expected in chance(owner).items():
        measured = np.mean([report[name] for report in reports])
        assert measured == pytest.approx(expected, abs=1.0), name


def test_more_answers_than_there_are_find_everything():
    assert chance([0, 0, 1], ks=[10]) == {"i2t_r10": 100.0, "t2i_r10": 100.0}


@pytest.mark.parametrize(("owner", "ks"), [([0, 2], [1]), ([], [1]), ([0], [0])])
def test_what_makes_no_sense_is_refused(owner, ks):
    with pytest.raises(ValueError, match=r"owner|K|image|k"):
        chance(owner, ks)
