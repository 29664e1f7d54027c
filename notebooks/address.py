"""Make all badges and set-up cells open another repository: a fork, or a term's copy.

    python notebooks/address.py https://github.com/university/retrieval --branch term-2026

Writes the address and the branch (or tag) into pyproject.toml, and from there into every lesson,
exercise and solution. Nothing is executed, and the stored outputs stay: on a machine other than
Colab's a set-up cell does nothing. Run it in the clone whose notebooks are meant.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
BRANCH = re.compile(r"\w[\w./-]*")
TEXTS = ("README.md", "exercises/README.md", "notebooks/README.md")


def set_project(repository: str, branch: str) -> str:
    """Write both into pyproject.toml; returns the address that stood there."""
    file = ROOT / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    [old] = re.findall(r'^Repository = "(.+)"$', text, re.MULTILINE)
    text = text.replace(f'Repository = "{old}"', f'Repository = "{repository}"')
    text = re.sub(r'(?m)(^\[tool\.mmret\]\nbranch = ").+(?="$)', rf"\g<1>{branch}", text)
    file.write_text(text, encoding="utf-8")
    return str(old)


def fill_all() -> int:
    """Write badge and set-up cell of every notebook; returns how many there are."""
    sys.path.insert(0, str(ROOT / "notebooks"))
    from execute import code_so_far, fill  # reads pyproject.toml, so not before it is written

    files = sorted(ROOT.glob("[a-z]*/[0-9]*.ipynb"))
    for file in files:
        notebook = nbformat.read(file, as_version=4)
        belong = notebook.metadata.get("executed") == code_so_far(notebook)
        fill(notebook, file)
        if belong:  # outputs of older code stay what they are
            notebook.metadata.executed = code_so_far(notebook)
        file.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")
    return len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description="Let all notebooks open another repository.")
    parser.add_argument("repository", help="https://github.com/OWNER/NAME")
    parser.add_argument("--branch", default="main", help="a branch or a tag of it")
    asked = parser.parse_args()
    repository = asked.repository.rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(repository) or not BRANCH.fullmatch(asked.branch):
        print("wanted: https://github.com/OWNER/NAME and a branch's name", file=sys.stderr)
        return 2
    old = set_project(repository, asked.branch)
    for name in TEXTS:
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(rf"{re.escape(old)}(?![\w-])", repository, text), encoding="utf-8")
    print(f"{fill_all()} notebooks open {repository}, {asked.branch}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
