"""Write the API pages of mmret_lib to build/docs; any warning is an error.

python docs/build.py [FOLDER]
"""

import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

from mmret_lib import search, training


def main(folder: Path) -> None:
    """Render every public name of the library as HTML, with the docstrings' Google sections."""
    warnings.simplefilter("error")
    # These names are imported when first asked for, and pdoc asks only for what is there.
    for package in (search, training):
        vars(package).update({name: getattr(package, name) for name in package.__all__})
    pdoc.render.configure(docformat="google", search=True, footer_text="mmret")
    pdoc.pdoc("mmret_lib", output_directory=folder)
    print(f"wrote {folder / 'mmret_lib.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs"))
