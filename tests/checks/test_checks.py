"""The checks of the exercises: every wrong answer is refused by name, every right one passes."""

import pytest
import torch
from answers import cosines, duplicates, hinges, shares, wrong_hinges

from mmret_lib.checks import CheckFailed, triplet_losses
from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.task import Task
from mmret_lib.checks.triplet_batches import pairs
from mmret_lib.losses import MaxTriplet, SumTriplet
from mmret_lib.losses import negative_weights as library_weights
from mmret_lib.losses.base import similarities

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


def stub(*args: object) -> None:
    raise NotImplementedError


@pytest.mark.parametrize("task", CHECKS)
def test_a_stub_is_told_from_a_mistake(task: str) -> None:
    def unwritten(*args: object) -> None:
        raise NotImplementedError

    unwritten.__code__ = unwritten.__code__.replace(co_name=task)
    with pytest.raises(NotImplementedError, match=f"{task} is not written yet"):
        CHECKS[task](unwritten)


def test_a_written_function_that_calls_a_stub() -> None:
    with pytest.raises(NotImplementedError, match="sum_triplet calls stub, which is not written"):
        CHECKS["sum_triplet"](lambda i, t, m=0.2: stub(i, t))


@pytest.mark.parametrize("task", CHECKS)
def test_a_result_handed_over_for_the_function(task: str) -> None:
    with pytest.raises(CheckFailed, match="hand over the function itself"):
        CHECKS[task](torch.zeros(()))


def test_the_formulas_are_the_librarys() -> None:
    for case in triplet_losses.SUM_TASK.cases:
        image_emb, text_emb, *margin = case.args
        for loss, formula in ((SumTriplet, "sum_of_hinges"), (MaxTriplet, "max_of_hinges")):
            ours = loss(*margin)(image_emb, text_emb)
            assert torch.allclose(ours, getattr(triplet_losses, formula)(*case.args))
    for case in triplet_losses.MASKED_TASK.cases:
        image_emb, text_emb, image_ids, caption_ids, *margin = case.args
        ours = MaxTriplet(*margin)(
            image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids
        )
        assert torch.allclose(ours, triplet_losses.masked_max_of_hinges(*case.args))
    image_emb, text_emb = pairs(5, 3, 3)
    for case in triplet_losses.WEIGHT_TASK.cases[:3]:
        direction, similarity = case.args
        ours = library_weights(direction.loss, image_emb, text_emb)
        assert torch.allclose(similarity, similarities(image_emb, text_emb))
        assert torch.allclose(ours, triplet_losses.weights(*case.args))


def test_every_slip_makes_other_numbers_than_the_right_formula() -> None:
    tasks = [one for one in vars(triplet_losses).values() if isinstance(one, Task)]
    assert len(tasks) == len(CHECKS)
    for task in tasks:
        right = [task.right(*case.args) for case in task.cases]
        for slip in task.slips:
            slipped = [task.right(*case.args, **slip.options) for case in task.cases]
            assert not all(map(close, right, slipped)), f"{task.name}: {slip.says}"


def test_a_check_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    CHECKS["sum_triplet"](hinges.skeleton(hinges.plain, "sum"))
    assert torch.equal(torch.rand(3), expected)
