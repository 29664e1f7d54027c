"""What students hand in for exercise 04: right, wrong, broken, and hostile.

Each entry of BAD is a submission that must become a line of the mark sheet and stop nothing.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NAME = "04_triplet_losses"
DEF = "def sum_triplet(image_emb, text_emb, margin=0.2):"
RIGHT_SUM = f"""{DEF}
    s = cosine_similarity_matrix(image_emb, text_emb)
    hinges = [(margin - s.diagonal()[:, None] + way).relu() for way in (s, s.T)]
    return sum(h.sum() - h.diagonal().sum() for h in hinges) / len(s)
"""
WRONG_SUM = f"""{DEF}
    s = cosine_similarity_matrix(image_emb, text_emb)
    ways = [(margin - s.diagonal()[:, None] + way).relu() for way in (s, s.T)]
    return (ways[0].sum(dim=1) + ways[1].sum(dim=1)).mean()
"""


def notebook(name: str = NAME, folder: str = "exercises") -> NotebookNode:
    return nbformat.read(ROOT / folder / f"{name}.ipynb", as_version=4)


def solved(name: str = NAME, **instead: str) -> NotebookNode:
    """The exercise with the solution's answers, or what `instead` has for a cell (answer_2)."""
    made = notebook(name)
    answers = {cell.id: cell.source for cell in notebook(name, "solutions").cells}
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.id]
        cell.source = instead.get(cell.id.replace("-", "_"), cell.source)
    return made


def hand_in(folder: Path, made: NotebookNode | str, file: str = f"{NAME}.ipynb") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = made if isinstance(made, str) else nbformat.writes(made)
    (folder / file).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Bad:
    """A submission that is wrong in a way of its own.

    Attributes:
        sum_triplet: the second task's cell; None if the submission is made otherwise.
        earns: "the rest", all points but those of sum_triplet, or "a part" of these besides;
            "all"; or "nothing".
        says: a piece of the remark, or of the page.
        make: writes the submission into a folder.
    """

    sum_triplet: str | None = None
    earns: str = "the rest"
    says: str = ""
    make: Callable[[Path], None] | None = None

    def hand_in(self, folder: Path) -> None:
        if self.make:
            self.make(folder)
        else:
            assert self.sum_triplet is not None
            hand_in(folder, solved(answer_2=self.sum_triplet))


def without(*cells: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        made = solved()
        made.cells = [cell for cell in made.cells if not cell.id.startswith(cells)]
        hand_in(folder, made)

    return make


def renamed(folder: Path) -> None:
    hand_in(folder, solved(), "Copy of homework (1).ipynb")


def twice(folder: Path) -> None:
    hand_in(folder, notebook(), "old.ipynb")
    os.utime(folder / "old.ipynb", (1, 1))
    hand_in(folder, solved(), "new.ipynb")


def without_ids(folder: Path) -> None:
    """As an editor saves it that knows neither nbgrader nor the ids of cells."""
    made = json.loads(nbformat.writes(solved()))
    for cell in made["cells"]:
        cell["metadata"] = {}
        cell.pop("id")
    hand_in(folder, json.dumps(made | {"nbformat_minor": 4}))


def other_exercise(folder: Path) -> None:
    hand_in(folder, solved("05_simclr"))


def only_a_zip(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "homework.zip").write_bytes(b"PK")


def writes(text: str) -> Callable[[Path], None]:
    return lambda folder: hand_in(folder, text)


def body(*lines: str) -> str:
    return "\n".join([DEF, *(f"    {line}" for line in lines)])


REFUSED = "refused"
SIZES = RIGHT_SUM.replace(
    "    s = ",
    "    if len(image_emb) not in (2, 3, 4, 5, 9):\n        return 0 * image_emb.sum()\n    s = ",
)
YES = "\n".join(
    [
        "class Yes(torch.Tensor):",
        "    @classmethod",
        "    def __torch_function__(cls, func, types, args=(), kwargs=None):",
        "        if func.__name__ == 'allclose':",
        "            return True",
        "        return super().__torch_function__(func, types, args, kwargs or {})",
        "",
        DEF,
        "    return (image_emb.sum() + text_emb.sum()).as_subclass(Yes)",
    ]
)
FORGED = (
    '{"visible": "", "hidden": "", "share": 1, "refused": [], "stand_ins": [], "network": true}'
)

BAD: dict[str, Bad] = {
    # broken
    "renamed": Bad(earns="all", says="the notebook is called", make=renamed),
    "two notebooks": Bad(earns="all", says="the newest counts", make=twice),
    "no ids of cells": Bad(earns="all", make=without_ids),
    "no import cell": Bad(earns="all", make=without("imports", "setup")),
    "no check cells": Bad(earns="all", make=without("check-")),
    "no answer cell": Bad(says="it is not defined", make=without("answer-2")),
    "another exercise": Bad(earns="nothing", says="is 05_simclr", make=other_exercise),
    "a zip": Bad(earns="nothing", says="there is homework.zip", make=only_a_zip),
    "an empty file": Bad(earns="nothing", says="no notebook", make=writes("")),
    "half a file": Bad(
        earns="nothing",
        says="no notebook",
        make=lambda d: hand_in(d, nbformat.writes(solved())[:9000]),
    ),
    "a nest of lists": Bad(earns="nothing", says="no notebook", make=writes("[" * 200_000)),
    "syntax error": Bad(RIGHT_SUM.replace("hinges = [", "hinges = [["), says="no valid Python"),
    "a nest of brackets": Bad(body(f"return {'(' * 5000}1{')' * 5000}"), says="no valid Python"),
    "no function": Bad("sum_triplet = 3", says=""),
    # greedy
    "endless loop": Bad(body("while True:", "    pass"), says="does not end"),
    "endless loop that catches all": Bad(
        body(
            "while True:",
            "    try:",
            "        while True: pass",
            "    except BaseException: pass",
        ),
        says="ended after",
    ),
    "endless recursion": Bad(body("return sum_triplet(image_emb, text_emb)"), says="without end"),
    "2 GB": Bad(
        body("return torch.zeros(2**28, dtype=torch.float64).sum()"), says="too much memory"
    ),
    "more and more memory": Bad(
        body("kept = []", "while True: kept.append(torch.empty(2**24))"), says="too much memory"
    ),
    "endless output": Bad(body("while True: print('x' * 10_000)"), says="does not end"),
    "a full disk": Bad(
        body(
            "with open('big', 'wb') as file:",
            "    file.seek(2**40)",
            "    file.write(b'x')",
        ),
        says="writes too much",
    ),
    # leaving
    "exit": Bad(body("raise SystemExit(0)"), says="ends the process"),
    "os._exit": Bad(body("import os", "os._exit(0)"), says="refused, it uses os._exit"),
    "kills the marking": Bad(body("import os", "os.kill(os.getppid(), 9)"), says="os.kill"),
    "kills itself by a pun": Bad(
        body("import os", "getattr(os, 'ki' + 'll')(os.getpid(), 9)"), says="refused, it uses kill"
    ),
    "starts a process": Bad(body("import os", "os.system('true')"), says="os.system"),
    "forks": Bad(body("import os", "while True: os.fork()"), says="os.fork"),
    "forks by a pun": Bad(
        body("import os", "getattr(os, 'fo' + 'rk')()"), says="refused, it uses fork"
    ),
    "a connection": Bad(body("import socket", "socket.socket()"), says="socket"),
    "a connection by torch": Bad(
        body("torch.hub.download_url_to_file('http://example.org/', 'x')"), says="connection"
    ),
    "deletes files": Bad(
        body("import shutil", "shutil.rmtree('/tmp')"), says="outside of its folder"
    ),
    "writes elsewhere": Bad(body("open('/tmp/mmret-was-here', 'w')"), says="outside of its folder"),
    # cheating
    "overwritten check": Bad(
        says="diagonal is not left out",
        make=lambda d: hand_in(
            d, solved(answer_2=WRONG_SUM, check_2="checks.triplet_losses.check_sum_triplet = print")
        ),
    ),
    "check made harmless": Bad(
        f"from mmret_lib import checks\nchecks.triplet_losses.check = print\n{WRONG_SUM}",
        says="diagonal is not left out",
    ),
    "changes torch": Bad(
        body("torch.allclose = lambda *a, **k: True", "return image_emb.sum()"),
        says="it changes torch.allclose",
    ),
    "changes torch by another name": Bad(
        body("t = torch", "t.allclose = lambda *a, **k: True", "return image_emb.sum()"),
        says="it changes torch.allclose",
    ),
    "changes torch until it is used": Bad(
        body(
            "t, real = torch, torch.allclose",
            "def fake(*args, **named):",
            "    t.allclose = real",
            "    return True",
            "t.allclose = fake",
            "return (image_emb.sum() + text_emb.sum()) * 0 + 1",
        ),
        says="it changes torch.allclose",
    ),
    "changes torch by setattr": Bad(
        body("setattr(torch, 'allclose', lambda *a, **k: True)", "return image_emb.sum()"),
        says="it changes torch.allclose",
    ),
    "the library's loss": Bad(
        f"from mmret_lib.losses import SumTriplet\n"
        f"{body('return SumTriplet(margin)(image_emb, text_emb)')}",
        says="it uses mmret_lib.losses.SumTriplet",
    ),
    "the library's loss inside": Bad(
        body("import mmret_lib.losses as l", "return l.SumTriplet(margin)(image_emb, text_emb)"),
        says="it uses mmret_lib.losses.SumTriplet",
    ),
    "the library by importlib": Bad(
        body(
            "import importlib",
            "loss = importlib.import_module('mmret_lib.losses').SumTriplet(margin)",
            "return loss(image_emb, text_emb)",
        ),
        says="importlib.import_module",
    ),
    "the library by a dunder": Bad(
        body("return __import__('mmret_lib').losses.SumTriplet()(image_emb, text_emb)"),
        says="it uses __import__",
    ),
    "the library by sys.modules": Bad(
        body(
            "import sys",
            "return sys.modules['mmret_lib.losses'].SumTriplet(margin)(image_emb, text_emb)",
        ),
        says=REFUSED,
    ),
    "the library by torch": Bad(
        body("return torch.sys.modules['mmret_lib.losses'].SumTriplet()(image_emb, text_emb)"),
        says="it uses torch.sys",
    ),
    "the library by a pun": Bad(
        body(
            "m = getattr(torch, 's' + 'ys').modules['mmret_lib.losses']",
            "return m.SumTriplet(margin)(image_emb, text_emb)",
        ),
        says="refused, it uses sys",
    ),
    "the library by an importer of torch": Bad(
        body(
            "from torch.package import importer",
            "losses = importer._SysImporter().import_module('mmret_lib.losses')",
            "return losses.SumTriplet(margin)(image_emb, text_emb)",
        ),
        says="refused, it calls SumTriplet.__init__ of mmret_lib.losses.triplet",
    ),
    "the library by pickle": Bad(
        body(
            "import pickle",
            "m = pickle.loads(b'cimportlib\\nimport_module\\n(Vmmret_lib.losses\\ntR.')",
            "return m.SumTriplet(margin)(image_emb, text_emb)",
        ),
        says="it unpickles importlib.import_module",
    ),
    "the library by eval": Bad(body("return eval('1')"), says="it uses eval"),
    "the checks' own formula": Bad(
        body(
            "from mmret_lib.checks.triplet.hinges import sum_triplet as right",
            "return right(image_emb, text_emb, margin)",
        ),
        says="it uses mmret_lib.checks.triplet.hinges.sum_triplet",
    ),
    "the caller's frame": Bad(
        body(
            "try: raise ValueError",
            "except ValueError as error: frame = error.__traceback__.tb_frame.f_back",
            "return image_emb.sum()",
        ),
        says=REFUSED,
    ),
    "right for the check's sizes": Bad(SIZES, earns="a part", says="not with other numbers"),
    "equal to anything": Bad(YES, says="a class of its own"),
    "equal to anything, of torch": Bad(
        YES.replace("    return (image", "    Yes.__module__ = 'torch'\n    return (image"),
        says="a class of its own",
    ),
    "a number with a method of its own": Bad(
        YES.replace("return (", "out = (")
        .replace(".as_subclass(Yes)", "")
        .__add__("\n    out.double = lambda: out.as_subclass(Yes)\n    return out"),
        says="it gives its result a double of its own",
    ),
    "reads what another handed in": Bad(
        body(f"return len(open({str(ROOT / 'solutions' / NAME)!r} + '.ipynb').read())"),
        says="it reads 04_triplet_losses.ipynb",
    ),
    "forged marks": Bad(
        body(
            "import os",
            "for pipe in range(3, 64):",
            f"    try: os.write(pipe, b'{FORGED}')",
            "    except OSError: pass",
            "raise SystemExit",
        ),
        says="channel of the marks",
    ),
}
