"""Leave the checks of the process as they were: marking imports them anew, with other numbers."""

import sys
from collections.abc import Iterator

import pytest

from mmret_lib.checks.engine import seeds

CHECKS = "mmret_lib.checks"


@pytest.fixture(autouse=True)
def same_checks_afterwards() -> Iterator[None]:
    before = {name: each for name, each in sys.modules.items() if name.startswith(CHECKS)}
    yield
    for name in [name for name in sys.modules if name.startswith(CHECKS)]:
        del sys.modules[name]
    sys.modules.update(before)
    for name, each in before.items():
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, each)
    seeds.shift = 0
