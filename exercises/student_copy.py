"""Make a copy of the course for students, without solutions, answers, keys and tests.

    python exercises/student_copy.py ../retrieval-2026
    python exercises/student_copy.py ../retrieval-2026 \\
        --repository https://github.com/university/retrieval-2026 --branch term-2026

Copies the files that git tracks, as they are in the working folder, but for `LEFT_OUT`. The README
is exercises/STUDENTS.md. Left out of the texts are sections for instructors, lines between
[instructors and instructors], and the links to files that are not in the copy (their words stay).
With --repository the badges and set-up cells open that repository. The folder is there complete
or not at all; one that holds files is refused. INSTRUCTORS.md says what the copy still holds.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from mmret_lib.files.errors import DataError
from mmret_lib.files.whole import refuse_strangers, whole_folder

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = re.compile(
    r"solutions/|tests/|docs/"  # tests hold right answers and reference implementations
    r"|benchmarks/(?:[^/]+\.py|results/grading)"
    r"|\.ci/|\.github/|\.pre-commit|CONTRIBUTING|CHANGELOG"
    r"|exercises/(?:[A-Z]+\.md|\w+\.py)(?<!README\.md)(?<!scoreboard\.py)|notebooks/colab\.py"
)
SECTIONS = {
    "exercises/README.md": "For instructors",
    "notebooks/README.md": "To teach with them",
}
BETWEEN = re.compile(r"^[^\n]*\[instructors\n.*?instructors\][^\n]*\n", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\][]+)\]\(([^)\s:]+)\)")  # not of the web, not of a picture


def tracked() -> list[str]:
    """The names of the files that git tracks and that are there."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


def for_students(name: str, text: str) -> str:
    """A text file of the course without what is for instructors only."""
    text = BETWEEN.sub("", text)
    if name in SECTIONS:
        heading = re.escape(SECTIONS[name])
        text, found = re.subn(rf"\n## {heading}\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL)
        assert found == 1, f"{name} has no section {SECTIONS[name]!r}"
    return text


def without_dangling(text: str, folder: Path) -> str:
    """The text with links to files that are not there turned into their words."""

    def kept(link: re.Match[str]) -> str:
        target = link[2].split("#")[0]
        return link[0] if not target or (folder / target).exists() else link[1]

    return LINK.sub(kept, text)


def copy_course(out: Path) -> int:
    """Copy the course into an empty folder; returns the number of files."""
    names = [name for name in tracked() if not LEFT_OUT.match(name)]
    for name in names:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = (ROOT / name).read_bytes()
        if name.endswith(".md") or name == "Makefile":
            content = for_students(name, content.decode()).encode()
        target.write_bytes(content)
    readme = (ROOT / "exercises" / "STUDENTS.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(readme.replace("](../", "]("), encoding="utf-8")
    for name in names:
        if name.endswith(".md"):
            text = (out / name).read_text(encoding="utf-8")
            text = without_dangling(text, (out / name).parent)
            (out / name).write_text(text, encoding="utf-8")
    return len(names)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make a student's copy of the course.")
    parser.add_argument("out", help="a new folder, outside of this one")
    parser.add_argument("--repository", help="where it will be: https://github.com/OWNER/NAME")
    parser.add_argument("--branch", default="main", help="its branch or tag for this term")
    asked = parser.parse_args(arguments)
    out = Path(asked.out)
    try:
        if not asked.out or out.resolve().is_relative_to(ROOT):
            raise DataError("Give a folder outside of the course: make student OUT=../term")
        refuse_strangers(out, set())
        with whole_folder(out, set()) as draft:
            files = copy_course(draft)
            if asked.repository:
                words = [draft / "notebooks" / "address.py", asked.repository]
                command = [sys.executable, *map(str, words), "--branch", asked.branch]
                if subprocess.run(command).returncode:
                    raise DataError("The badges could not be made; nothing is written.")
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{files} files in {out}, without solutions, answers, keys and tests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
