"""Each package's docstring says what all of its modules are for."""

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import mmret_lib

HOME = Path(mmret_lib.__file__).parent
PACKAGES = [
    *(found.name for found in pkgutil.iter_modules([str(HOME)]) if found.ispkg),
    "data/world",
    "losses/atlas",
    *(
        f"checks/{found.name}"
        for found in pkgutil.iter_modules([str(HOME / "checks")])
        if found.ispkg
    ),
]


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "checks"])
def test_a_package_names_its_modules(package: str) -> None:
    docstring = ast.get_docstring(ast.parse((HOME / package / "__init__.py").read_text("utf-8")))
    found = [module.name for module in pkgutil.iter_modules([str(HOME / package)])]
    modules = [name for name in found if name != "__main__"]
    assert [name for name in modules if not re.search(rf"\b{name}\b", docstring or "")] == []
