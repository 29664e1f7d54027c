"""Mark sixty submissions, and some fifty that are broken, greedy or hostile.

    python benchmarks/grading.py        Linux or macOS, some minutes

Sixty submissions of exercise 04: right ones, half-done ones, wrong ones, stubs and a dozen hostile
ones; then sixty right ones of exercise 01, whose checks draw the most and so take the longest. Both
by `mmret grade` with two processes, as a user calls it, imports included. Then every hostile
submission of tests/submissions.py, and what became of it.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from submissions import BAD, NAME, WRONG_SUM, hand_in, notebook, solved  # noqa: E402

from mmret_lib.grading.run import grade_folder  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
STUDENTS = 60
UNDONE = {cell.id.replace("-", "_"): cell.source for cell in notebook().cells}
HALF = {name: UNDONE[name] for name in ("answer_4", "answer_5", "answer_6")}


def a_class(folder: Path) -> None:
    """Sixty students: 24 right, 12 half done, 8 with a wrong loss, 4 stubs, 12 hostile."""
    kinds = [*[solved()] * 24, *[solved(**HALF)] * 12, *[solved(answer_2=WRONG_SUM)] * 8]
    kinds += [notebook()] * 4
    for number, made in enumerate(kinds):
        hand_in(folder / f"student {number:02}", made)
    for name in list(BAD)[:: len(BAD) // 12][:12]:
        BAD[name].hand_in(folder / name)
    assert len(list(folder.iterdir())) == STUDENTS


def all_right(folder: Path) -> None:
    made = solved("01_data_pipeline")
    for number in range(STUDENTS):
        hand_in(folder / f"student {number:02}", made, "01_data_pipeline.ipynb")


def seconds_for(folder: Path, exercise: str, out: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "mmret_lib.cli", "grade", folder, "--exercise", exercise]
    subprocess.run([*command, "--out", out, "--jobs", "2"], check=True)
    return time.perf_counter() - start


def main() -> None:
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        a_class(root / "class")
        all_right(root / "right")
        seconds = {
            "04_triplet_losses, a class": seconds_for(root / "class", "04", root / "one"),
            "01_data_pipeline, all right": seconds_for(root / "right", "01", root / "two"),
        }
        for kind, bad in BAD.items():
            bad.hand_in(root / "bad" / kind)
        start = time.perf_counter()
        grading = grade_folder(root / "bad", NAME, root / "three")
        seconds[f"{len(BAD)} hostile ones"] = time.perf_counter() - start
    found = {one.submission.student: one for one in grading.marked}
    assert found.keys() == BAD.keys()
    rows = [
        {"submission": kind, "points": found[kind].total, "remarks": "; ".join(found[kind].remarks)}
        for kind in BAD
    ]
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    result = {
        "command": "python benchmarks/grading.py",
        "seconds": {kind: round(value, 1) for kind, value in seconds.items()},
        "load_average": load,
        "network_cut_off_by_the_system": grading.network,
        "machine": f"{platform.system()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "hostile": rows,
    }
    (RESULTS / "grading.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "grading.md").write_text(report(result), encoding="utf-8")
    print(report(result))


def report(result: dict) -> str:
    load = result["load_average"]
    lines = [
        "# Marking submissions",
        "",
        f"`{result['command']}`; two processes; {result['machine']}.",
        f"Other work ran beside it: the load average was {load[0]} before and {load[1]} after it,",
        "so the seconds are an upper bound for a machine that does nothing else.",
        "",
        "| submissions | seconds |",
        "|---|---|",
        *(f"| {kind} | {value:.0f} |" for kind, value in result["seconds"].items()),
        "",
        "The first row has sixty: 24 right, 12 half done, 8 wrong, 4 stubs and 12 of those below;",
        "the second sixty that are right, of the exercise whose checks take the longest.",
        "",
        "What became of each hostile submission of exercise 04 (19 points; all but sum_triplet,",
        "which is worth 3, is right where there is a notebook at all):",
        "",
        "| submission | points | in the sheet |",
        "|---|---|---|",
        *(
            f"| {row['submission']} | {row['points']:g} | {row['remarks'].replace('|', '/')} |"
            for row in result["hostile"]
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
