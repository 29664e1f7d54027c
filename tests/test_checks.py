"""The checks of the exercises: every wrong answer is refused by name, every right one passes."""

import pytest
from answers import cosines, duplicates, hinges, shares, wrong_hinges

from mmret_lib.checks import CheckFailed, triplet_losses

CHECKS = {
    "cosine_similarity_matrix": triplet_losses.check_cosine_similarity_matrix,
    "sum_triplet": triplet_losses.check_sum_triplet,
    "max_triplet": triplet_losses.check_max_triplet,
    "masked_max_triplet": triplet_losses.check_masked_max_triplet,
    "negative_weights": triplet_losses.check_negative_weights,
}
RIGHT = {
    "cosine_similarity_matrix": cosines.RIGHT_COSINES,
    "sum_triplet": hinges.rights("sum"),
    "max_triplet": hinges.rights("max"),
    "masked_max_triplet": duplicates.RIGHT_DUPLICATES,
    "negative_weights": shares.RIGHT_SHARES,
}
WRONG = {
    "cosine_similarity_matrix": cosines.WRONG_COSINES,
    "sum_triplet": wrong_hinges.wrongs("sum"),
    "max_triplet": wrong_hinges.wrongs("max"),
    "masked_max_triplet": duplicates.WRONG_DUPLICATES,
    "negative_weights": shares.WRONG_SHARES,
}


@pytest.mark.parametrize(
    ("task", "place"), [(task, place) for task in RIGHT for place in range(len(RIGHT[task]))]
)
def test_right_answers_pass(task: str, place: int, capsys: pytest.CaptureFixture) -> None:
    CHECKS[task](RIGHT[task][place])
    assert f"{task}: right." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, answers in WRONG.items() for name in answers]
)
def test_wrong_answers_are_refused_by_name(task: str, name: str) -> None:
    word, answer = WRONG[task][name]
    with pytest.raises(CheckFailed) as refused:
        CHECKS[task](answer)
    message = str(refused.value)
    assert word.lower() in message.lower()


@pytest.mark.parametrize("task", WRONG)
def test_the_catalogue_is_long_enough(task: str) -> None:
    assert len(WRONG[task]) >= 10
    assert len(RIGHT[task]) >= 5
