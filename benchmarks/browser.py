"""Measure how long a reader waits: for the first answer, and from Enter to the pictures.

    python benchmarks/browser.py [--rounds 5]

Measured in Debian's chromium (apt-get install chromium) on this machine, with the two small models
of `mmret app` on the built-in world's 1,000 test pictures. Every round starts servers of its own,
so a first answer waits for a new Python process that imports torch and loads the model. A first
round is not counted. Writes results/browser.md and the pictures explorer*.png.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from browsing import (  # noqa: E402
    CHROMIUM,
    FIRST,
    TOKEN,
    Server,
    Watched,
    app_page,
    chromium,
    lab,
    marked,
    notebook,
    run_all,
)
from loader import machine  # the scripts beside this one  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

from mmret_lib.data import load_pairs  # noqa: E402
from mmret_lib.show.app import quick_runs  # noqa: E402

QUERIES = 20
BARS = {"open": 20.0, "enter": 300.0}  # seconds, milliseconds

CELLS = (
    """
from mmret_lib.training import load_run
from mmret_lib.data import load_pairs
from mmret_lib.search import SearchIndex
from mmret_lib.show.explorer import SearchExplorer

pairs = load_pairs("scenes", split="test", progress=False)
index = SearchIndex.build(load_run({run!r})[0], pairs, progress=False)
SearchExplorer(index, query="Grazing zebra")
""".strip(),
)

# From the key to the change of the document, and to the second frame after it: that one is drawn.
WATCH = """query => {
    window.answered = new Promise(done => {
        let start;
        addEventListener('keydown', event => {
            if (event.key === 'Enter') start = performance.now();
        }, {capture: true, once: true});
        const seen = new MutationObserver(() => {
            if (document.querySelector('.mmret .status bdi')?.textContent !== query) return;
            seen.disconnect();
            const changed = performance.now() - start;
            requestAnimationFrame(() => requestAnimationFrame(
                () => done([changed, performance.now() - start])));
        });
        seen.observe(document.body, {subtree: true, childList: true, characterData: true});
    });
}"""


def first_answer(page: Page, url: str, in_lab: bool) -> float:
    """Seconds from opening the address to the first answer's picture."""
    started = time.perf_counter()
    page.goto(url)
    if in_lab:
        run_all(page)
    page.wait_for_selector(FIRST)
    return time.perf_counter() - started


def enter_to_answer(page: Page, queries: list[str]) -> list[tuple[float, float, float]]:
    """For each query, milliseconds until the document changes, until it is drawn, and in Python."""
    rows = []
    field = page.get_by_label("Sentence")
    for query in queries:
        field.fill(query)
        page.evaluate(WATCH, query)
        field.press("Enter")
        changed, drawn = page.evaluate("window.answered")
        python = re.search(r"(\d+) ms", page.locator(".mmret .status").first.inner_text())
        rows.append((changed, drawn, float(python[1]) if python else float("nan")))
    return rows


def screenshots(page: Page, out: Path) -> None:
    page.get_by_label("Beside it").select_option("Max Triplet")
    page.wait_for_function("document.querySelectorAll('.mmret .hits').length === 2")
    field = page.get_by_label("Sentence")
    field.fill("Red bus on the street")
    field.press("Enter")
    page.locator(".mmret .status bdi", has_text="Red bus on the street").wait_for()
    page.mouse.click(5, 5)
    page.screenshot(path=out / "explorer.png")
    page.get_by_role("button", name="Find captions").click()
    page.wait_for_selector(".mmret .asked img")
    page.screenshot(path=out / "explorer-captions.png")
    page.evaluate("document.querySelector('h2').scrollIntoView()")
    page.screenshot(path=out / "explorer-weights.png")


def measure(browser: Browser, rounds: int, out: Path) -> dict[str, list]:
    runs = quick_runs()
    captions = load_pairs("scenes", split="test", progress=False).captions
    asked = iter(dict.fromkeys(captions))
    figures: dict[str, list] = {
        name: [] for name in ("listening", "app", "again", "lab", "one", "two", "in_lab")
    }
    for number in range(rounds + 1):
        if number == 1:  # the first round filled the system's caches
            figures = {name: [] for name in figures}
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            started = time.perf_counter()
            with app_page(root, runs) as server:
                figures["listening"].append(time.perf_counter() - started)
                one = Watched(browser)
                figures["app"].append(first_answer(one.page, server.url, False))
                one.page.wait_for_selector(".mmret table")
                quiet(server)  # until the next visitor's page is ready
                rows = enter_to_answer(one.page, [next(asked) for _ in range(QUERIES)])
                figures["one"] += rows
                one.page.get_by_label("Beside it").select_option("Max Triplet")
                one.page.wait_for_function("document.querySelectorAll('.hits').length === 2")
                rows = enter_to_answer(one.page, [next(asked) for _ in range(QUERIES)])
                figures["two"] += rows
                two = Watched(browser)
                figures["again"].append(first_answer(two.page, server.url, False))
                if number == rounds:
                    screenshots(two.page, out)
                leave(one, two)
            with lab(root) as server:
                notebook(root / "root" / "play.ipynb", *(c.format(run=str(runs[0])) for c in CELLS))
                three = Watched(browser)
                url = f"{server.url}/lab/tree/play.ipynb?token={TOKEN}&reset"
                figures["lab"].append(first_answer(three.page, url, True))
                rows = enter_to_answer(three.page, [next(asked) for _ in range(QUERIES)])
                figures["in_lab"] += rows
                leave(three)
        print(f"[{number}/{rounds}]", {k: v[-1] for k, v in figures.items()}, flush=True)
    return figures


def leave(*visits: Watched) -> None:
    for visit in visits:
        assert visit.wrong == [], visit.wrong
        visit.context.close()


def quiet(server: Server, seconds: float = 2.0, most: float = 60.0) -> None:
    """Wait until the server's processes are idle."""

    def ticks() -> int:
        total = 0
        for process in marked(server.mark):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total

    until = time.monotonic() + most
    before = ticks()
    while time.monotonic() < until:
        time.sleep(seconds)
        now = ticks()
        if now - before < 10:  # hundredths of a second
            return
        before = now


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} | {max(values):.{digits}f}"


def text(figures: dict[str, list], rounds: int, chromium_version: str, command: str) -> str:
    packages = ("jupyterlab", "voila", "ipywidgets", "playwright")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    opened = {
        "`mmret app`: the first visit, right after the server listens": figures["app"],
        "`mmret app`: a later visit": figures["again"],
        "JupyterLab: the notebook opened, Run All Cells": figures["lab"],
        "(`mmret app`: from the command to listening, before anyone can open the page)": figures[
            "listening"
        ],
    }
    asked = {
        "the page, one loss": figures["one"],
        "the page, two losses side by side": figures["two"],
        "JupyterLab, one loss": figures["in_lab"],
    }
    lines = [
        "# The explorer in the browser",
        "",
        f"`{command}`, on {machine()}; {chromium_version}, {versions}. The two small models of "
        f"`mmret app`, the built-in world's 1,000 test pictures and 5,000 captions; {rounds} "
        "rounds, each with servers of its own, after one that does not count.",
        "",
        f"From opening the page to the first answer, the kernel's start included (bar: under "
        f"{BARS['open']:.0f} s):",
        "",
        "| | median, s | slowest, s |",
        "|---|---|---|",
        *(f"| {name} | {spread(values, 1)} |" for name, values in opened.items()),
        "",
        f"From Enter to the answer, {QUERIES * rounds} sentences each that were not asked before "
        f"(bar: under {BARS['enter']:.0f} ms):",
        "",
        "| | document changed: median, ms | slowest, ms | drawn: median, ms | slowest, ms | "
        "of it Python: median, ms | slowest, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in asked.items():
        columns = " | ".join(spread(list(column), 0) for column in zip(*rows, strict=True))
        lines.append(f"| {name} | {columns} |")
    return "\n".join(lines) + "\n\n![The explorer with two losses](explorer.png)\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("chromium is not installed (Debian: apt-get install chromium)")
    shown = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True).stdout
    with chromium() as browser:
        figures = measure(browser, args.rounds, args.out)
    options = f" --rounds {args.rounds}" if args.rounds != parser.get_default("rounds") else ""
    report = text(figures, args.rounds, shown.strip(), f"python benchmarks/browser.py{options}")
    (args.out / "browser.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
