"""The checks of the exercises: every wrong answer is refused by name, every right one passes."""

import pkgutil
import textwrap
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import answers
import pytest
import torch
from answers import hinges

from mmret_lib import checks
from mmret_lib.checks import CheckFailed, engine, triplet_losses
from mmret_lib.checks.engine.arguments import close, copies
from mmret_lib.checks.engine.pairs import batch
from mmret_lib.checks.engine.task import Mistake, Task
from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet
from mmret_lib.losses import negative_weights as library_weights

MODULES = [
    import_module(f"answers.{module.name}")
    for module in pkgutil.iter_modules(answers.__path__)
    if hasattr(checks, module.name)
]
CHECKS: dict[str, Callable] = {}
RIGHT: dict[str, list[Callable]] = {}
WRONG: dict[str, dict[str, tuple[str, Callable]]] = {}
for module in MODULES:
    CHECKS |= module.CHECKS
    RIGHT |= module.RIGHT
    WRONG |= module.WRONG
LESSONS = [getattr(checks, module.__name__.removeprefix("answers.")) for module in MODULES]


def tasks_of(lesson: ModuleType) -> dict[str, Task]:
    """The tasks of a module of the checks, by the names of their functions."""
    return {each.name: each for each in vars(lesson).values() if isinstance(each, Task)}


by_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.__name__)


@by_lesson
def test_each_task_has_its_check_and_its_answers(lesson: ModuleType) -> None:
    names = {name.removeprefix("check_") for name in vars(lesson) if name.startswith("check_")}
    assert tasks_of(lesson).keys() == names
    assert names <= CHECKS.keys() & RIGHT.keys() & WRONG.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "place"), [(task, place) for task in RIGHT for place in range(len(RIGHT[task]))]
)
def test_right_answers_pass(task: str, place: int, capsys: pytest.CaptureFixture) -> None:
    CHECKS[task](RIGHT[task][place])
    assert f"{task}: right." in capsys.readouterr().out


@pytest.mark.slow
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
    assert len(RIGHT[task]) >= 3


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
    for case in triplet_losses.LOSS_CASES:
        image_emb, text_emb, *margin = case.args
        for loss, task in (
            (SumTriplet, triplet_losses.SUM_TASK),
            (MaxTriplet, triplet_losses.MAX_TASK),
        ):
            assert close(loss(*margin)(image_emb, text_emb), task.right(*case.args))
    for case in triplet_losses.MASKED_TASK.cases:
        image_emb, text_emb, image_ids, caption_ids, *margin = case.args
        ours = MaxTriplet(*margin)(
            image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids
        )
        assert close(ours, triplet_losses.MASKED_TASK.right(*case.args))
    losses = (SimCLR(0.2), SumTriplet(0.5), MaxTriplet(0.5))
    for loss, case in zip(losses, triplet_losses.WEIGHT_TASK.cases, strict=False):
        ours = library_weights(loss, *batch(5, 3, 3))
        assert close(ours, triplet_losses.WEIGHT_TASK.right(*case.args))


@by_lesson
def test_every_mistake_makes_other_numbers_than_the_right_formula(lesson: ModuleType) -> None:
    for task in tasks_of(lesson).values():
        right = [task.right(*copies(case.args, torch.float64)) for case in task.cases]
        for mistake in task.mistakes:
            assert not same_everywhere(task, mistake, right), f"{task.name}: {mistake.says}"


def same_everywhere(task: Task, mistake: Mistake, right: list) -> bool:
    """Whether a mistake of a task gives the right results in all its cases."""
    formula = task.formula(mistake)
    try:
        given = [formula(*copies(case.args, torch.float64)) for case in task.cases]
    except Exception:  # it is told by its error
        return False
    return all(map(close, given, right))


def test_the_example_of_the_engines_docstring(capsys: pytest.CaptureFixture) -> None:
    text = textwrap.dedent(engine.__doc__.split("what can go wrong:")[1].split("\nA formula of")[0])
    names: dict = {}
    exec(text, names)
    names["check_global_pool"](lambda maps: maps.flatten(2).mean(dim=2))
    assert "global_pool: right. It makes" in capsys.readouterr().out
    for wrong, words in (("summed", "the sum is taken"), ("maximum", "the maximum is taken")):
        with pytest.raises(CheckFailed, match=words):
            names["check_global_pool"](names[wrong])


def test_a_check_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    CHECKS["sum_triplet"](hinges.skeleton(hinges.plain, "sum"))
    assert torch.equal(torch.rand(3), expected)
