"""Write the API pages of mmret_lib to build/docs; any warning is an error.

python docs/build.py [FOLDER]
"""

import pkgutil
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc
import pdoc.render

import mmret_lib


def main(folder: Path) -> None:
    """Render every public name of the library as HTML, with the docstrings' Google sections."""
    warnings.simplefilter("error")
    for found in pkgutil.walk_packages(mmret_lib.__path__, "mmret_lib."):
        if found.ispkg:
            package = import_module(found.name)
            names = list(getattr(package, "__all__", []))
            # Some names are imported when first asked for, and pdoc asks only for what is there.
            vars(package).update({name: getattr(package, name) for name in names})
            # pdoc takes __all__ at its word and would leave out the modules of a package.
            modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
            vars(package)["__all__"] = list(dict.fromkeys([*names, *modules]))
    pdoc.render.configure(docformat="google", search=True, footer_text="mmret")
    pdoc.pdoc("mmret_lib", output_directory=folder)
    pages = len(list(folder.rglob("*.html")))
    print(f"wrote {pages} pages, beginning with {folder / 'mmret_lib.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs"))
