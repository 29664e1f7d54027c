"""Print to any terminal or file: one that cannot show a character gets a "?" for it.

Python encodes what is printed as the terminal or the system says: on Windows, into a file, that is
cp1252, and with LC_ALL=C it may be ASCII. A print that cannot be encoded raises UnicodeEncodeError,
and a report that was hours in the making would be lost for an arrow in its heading.
"""

import io
import sys
from typing import Any, TextIO


def say(*values: Any, file: TextIO | None = None, flush: bool = False) -> None:
    """Print like `print`, but never fail because of a character; library code calls this."""
    text = " ".join(map(str, values))
    try:
        print(text, file=file, flush=flush)
    except UnicodeEncodeError as error:
        # The first attempt wrote nothing: the text is encoded as a whole before it is written.
        plain = text.encode(error.encoding, "replace").decode(error.encoding)
        print(plain, file=file, flush=flush)


def accept_all_characters() -> None:
    r"""Let everything that this process prints pass, whoever prints it; for a command line.

    A "?" keeps the columns of a table where they are, an escape such as \u2192 would not.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
