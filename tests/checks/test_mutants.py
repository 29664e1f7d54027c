"""The checks refuse mechanical changes of the solutions: fewer than 2 % pass that are wrong."""

from collections.abc import Callable

import mutants
import pytest

TASKS = list(mutants.answers())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exercise", "name", "before", "source", "check"), TASKS, ids=[task[1] for task in TASKS]
)
def test_mutants_are_refused(
    exercise: str, name: str, before: str, source: str, check: Callable
) -> None:
    assert not mutants.refused(before, source, name, check), "the solution itself passes"
    made = mutants.mutants(source)
    right = mutants.equivalent(exercise).get(name, {})
    assert right.keys() <= made.keys(), "EQUIVALENT names mutants that are no longer made"
    left = [what for what, text in made.items() if not mutants.refused(before, text, name, check)]
    wrong = [what for what in left if what not in right]
    assert len(made) >= 5
    assert len(wrong) < 0.02 * len(made), "\n".join(wrong)
