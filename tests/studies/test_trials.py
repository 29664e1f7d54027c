"""Trials keep the names under which their trainings are recorded."""

import pytest

from mmret_lib.studies.trials import Trial

RECORDED = {
    "ce741a5a4616": Trial("sum_triplet"),
    "ca21b0abaf6f": Trial("max_triplet"),
    "f9d838c153ab": Trial("simclr"),
    "f0df076a34be": Trial(
        "barlow_twins", {"lambda_": 0.0051}, {"standardise": False}, {"epochs": 24}
    ),
    "973ed00a7bf7": Trial(config={"batch_size": 32}),
    "8e76fc9afbf3": Trial("simclr", {"temperature": 0.02}),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_training_keeps_its_name(name: str) -> None:
    assert RECORDED[name].training(0) == name, "recorded rows would be measured again"


def test_what_is_measured_beside_it_names_another_training() -> None:
    usual = Trial().training(0)
    others = [
        Trial(negatives={"count": 1, "pick": "random"}),
        Trial(split="val"),
        Trial(curve=(2,)),
        Trial(branches=True),
    ]
    assert len({usual, *(other.training(0) for other in others)}) == 5
