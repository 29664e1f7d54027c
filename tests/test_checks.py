"""The checks of the exercises: every wrong answer is refused by name, every right one passes."""

from collections.abc import Callable

import pytest
from answers import cosines, hinges, wrong_hinges

from mmret_lib.checks import CheckFailed, triplet_losses

CHECKS = {
    "cosine_similarity_matrix": triplet_losses.check_cosine_similarity_matrix,
    "sum_triplet": triplet_losses.check_sum_triplet,
    "max_triplet": triplet_losses.check_max_triplet,
}
RIGHT = {
    "cosine_similarity_matrix": cosines.RIGHT_COSINES,
    "sum_triplet": hinges.rights("sum"),
    "max_triplet": hinges.rights("max"),
}
WRONG = {
    "cosine_similarity_matrix": cosines.WRONG_COSINES,
    "sum_triplet": wrong_hinges.wrongs("sum"),
    "max_triplet": wrong_hinges.wrongs("max"),
}


@pytest.mark.parametrize(
    ("task", "answer"), [(task, answer) for task, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_pass(task: str, answer: Callable, capsys: pytest.CaptureFixture) -> None:
    CHECKS[task](answer)
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
