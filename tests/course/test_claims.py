"""Every claim in bold is backed: by recorded rows that are computed again here, or by an assert.

Bold marks two things in the course's texts. A *term* names or defines something, or heads a
paragraph; `is_term` knows one by its form. Everything else is a *claim* and needs an entry in
`CLAIMS`: either a function that computes it from data/results or benchmarks/results, with an
interval that excludes the opposite, or the cell of the same lesson whose assert shows it.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pandas as pd
import pytest
from study_rows import AT_FULL_SIZE

from mmret_lib.show.tables import gain, gains, verdict

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(
        file
        for folder in ("docs", "data", "benchmarks", "notebooks")
        for file in (ROOT / folder).rglob("*.md")
    ),
]
NOTEBOOKS = [
    file
    for folder in ("notebooks", "exercises", "solutions")
    for file in sorted((ROOT / folder).glob("*.ipynb"))
]
MODULES = sorted((ROOT / "mmret_lib").rglob("*.py"))

# Neither code nor a formula; stars that touch a letter outside are powers and keywords.
NOT_TEXT = re.compile(r"```.+?```|`[^`\n]+`|\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
BOLD = re.compile(
    r"(?<![\w*(])\*\*(?=[^\s*])((?:(?!\n\s*\n).)+?)(?<=\S)\*\*(?!\w)"
    r"|<b>(.+?)</b>|<strong>(.+?)</strong>",
    re.DOTALL,
)

TITLE = re.compile(r"(?m)^\*\*[^*\n]+\*\*$")

# What a term is ----------------------------------------------------------------------------------

LONGEST_TERM = 5  # words
# Words of a judgement, by which even a short phrase says something about results.
JUDGES = re.compile(
    r"(?:is|are|was|were|has|have|holds?|helps?|hurts|wins|leads|beats|loses|learns|fails|gains"
    r"|costs|works|ahead|behind|better|best|worse|worst|faster|slower|more|fewer|less|higher|lower"
    r"|always|never|every|none|no|largest|smallest|strongest|weakest|matters|proven)"
)
ADVICE = re.compile(r"(?:build|choose|report|compare|count|trust|move|do|try)")


def is_term(words: str) -> bool:
    """Whether bold words name something, ask, advise or say that nothing is known.

    A term has five words at most and none that judges. A question ends with its mark or begins with
    "how does"; advice begins with its verb; a disclaimer begins with "not".
    """
    parts = re.findall(r"[\w'-]+", words.lower())
    if not parts or words.endswith("?") or words.startswith("how does"):
        return True
    if ADVICE.fullmatch(parts[0]) or parts[0] == "not":
        return True
    return len(parts) <= LONGEST_TERM and not any(map(JUDGES.fullmatch, parts))


class Bold(NamedTuple):
    """Bold words, and where they stand: a file relative to the root, and a cell's id or a line."""

    file: str
    place: str
    words: str


def spans(text: str) -> list[tuple[int, str]]:
    """The line and the words of each bold span of a text."""
    # Code and formulas give way to as many stand-ins, so that the lines stay.
    bare = NOT_TEXT.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), text)
    return [
        (bare.count("\n", 0, at.start()) + 1, " ".join(text[at.start() : at.end()].split()))
        for at in BOLD.finditer(bare)
    ]


def words_of(span: str) -> str:
    return re.sub(r"^(?:\*\*|<b>|<strong>)|(?:\*\*|</b>|</strong>)$", "", span)


def all_bold() -> list[Bold]:
    """All bold words of the repository."""
    found = []
    for file in TEXTS:
        text = file.read_text(encoding="utf-8")
        if file.is_relative_to(ROOT / "benchmarks" / "results"):
            text = TITLE.sub("", text)  # a table's title, alone on its line
        parts = [(f"line {line}", span) for line, span in spans(text)]
        found += [(file, *part) for part in parts]
    for file in NOTEBOOKS:
        for cell in nbformat.read(file, as_version=4).cells:
            if cell.cell_type == "markdown":
                found += [(file, cell.id, span) for _, span in spans(cell.source)]
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", "its docstring")
                text = ast.get_docstring(node) or ""
                found += [(file, name, span) for _, span in spans(text)]
    return [
        Bold(file.relative_to(ROOT).as_posix(), place, words_of(span))
        for file, place, span in found
    ]


# What recorded rows say --------------------------------------------------------------------------


def recorded(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / "results" / f"{name}.csv")


def is_ahead(rows: pd.DataFrame, pairs: list[tuple[str, str]], asked: tuple[str, str]) -> None:
    """One trial's R@1 is above another's in both directions, read together with other pairs."""
    table = gains(rows, pairs).set_index(["trial", "over"])
    for way in ("i2t_r1", "t2i_r1"):
        assert table.loc[asked, f"{way}_verdict"] == "ahead", table.loc[asked].to_dict()


def at_full_size(one: str, other: str) -> Callable[[], None]:
    def check() -> None:
        is_ahead(recorded("world"), AT_FULL_SIZE, (one, other))

    return check


def on_photographs(length: str, *pairs: tuple[str, str]) -> Callable[[], None]:
    """The interval of each pair's difference on real photographs lies above zero."""

    def check() -> None:
        rows = recorded("real_differences")
        rows = rows[rows.about == length].set_index(["one", "other"])
        for pair in pairs:
            # A pair stands once, the larger first.
            assert pair in rows.index, f"{pair[1]} has the larger mean, not {pair[0]}"
            low, high = rows.loc[pair, ["low", "high"]]
            assert 0 < low < high, f"{' over '.join(pair)}: {low} to {high}, undecided"

    return check


def the_luckiest_of_one_seed_trials() -> None:
    """The best of twelve one-seed trials is not ahead of another once it has three seeds."""
    searched = recorded("barlow_search")
    assert searched.groupby("trial").seed.nunique().max() == 1 and len(searched) == 12
    best = searched.loc[searched.t2i_r1.idxmax()]
    assert (best.lambda_, best.epochs) == (0.02, 24)
    for way in ("i2t_r1", "t2i_r1"):
        assert verdict(*gain(recorded("barlow"), "both, lambda 0.02", "both", way)) != "ahead"


def nothing_was_measured_on_a_t4() -> None:
    for file in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert not re.search(r"\bT4\b", file.read_text(encoding="utf-8")), file.name


# The claims --------------------------------------------------------------------------------------


class Asserted(NamedTuple):
    """A cell of the claim's own notebook, and what it asserts (part of the expression)."""

    cell: str
    expression: str


LESSONS = "notebooks/"
# (file, words) -> what backs them.
CLAIMS: dict[tuple[str, str], Asserted | Callable[[], None]] = {
    (
        LESSONS + "02_image_branch.ipynb",
        "the plain network gives the same output for every picture",
    ): Asserted("share-figure", "share['plain'][-1] < 1e-08"),
    (
        LESSONS + "04_triplet_losses.ipynb",
        "The spread grows where the positive leads the pushed negatives, each counted by its "
        "weight, and shrinks where it trails.",
    ): Asserted("growth-law", "worst < 0.15"),
    (
        LESSONS + "04_triplet_losses.ipynb",
        "The max shrinks the spread, in every batch measured.",
    ): Asserted("growth-asserted", "row['max'].max() < -0.1"),
    (
        LESSONS + "04_triplet_losses.ipynb",
        "The shrinking does not fade near the collapse.",
    ): Asserted("growth-asserted", "at[128, 0.03, 0]['max'].mean() < at[128, 1, 0]['max'].mean()"),
    (
        LESSONS + "04_triplet_losses.ipynb",
        "SimCLR shrinks a little at a factor of 1, and next to nothing at 0.03.",
    ): Asserted("growth-asserted", "at[128, 1, 0]['SimCLR'].mean() < -0.02"),
    (
        LESSONS + "04_triplet_losses.ipynb",
        "With pairs half aligned, all four grow.",
    ): Asserted("growth-asserted", "each.min() > 0.2 for each in at[128, 0.1, 0.5].values()"),
    (
        LESSONS + "04_triplet_losses.ipynb",
        "blind to all negatives but one",
    ): Asserted("blind-figure", "(maps['max_triplet'][0] > 0).sum(dim=1).max() == 1"),
    (
        LESSONS + "06_barlow_twins.ipynb",
        "The best of several one-seed trials.",
    ): the_luckiest_of_one_seed_trials,
    (
        LESSONS + "07_training_loop.ipynb",
        "every forward pass writes",
    ): Asserted("freeze-wrong", "(found.i2t.recall[1] < at_first.i2t.recall[1] - 5) == careless"),
    (
        LESSONS + "08_metrics.ipynb",
        "Wherever the tied places reach across K, the two differ.",
    ): Asserted("tie-threshold", "abs(threshold - drawn) > 5"),
    (
        LESSONS + "10_experiments.ipynb",
        "all 63 are ahead of four random ones for each loss",
    ): Asserted("worth-table", "all((enough[loss, 'random'] > 4 for loss in FOUR))"),
    (
        LESSONS + "10_experiments.ipynb",
        "With the same 16 random negatives SimCLR is ahead of Sum Triplet",
    ): Asserted("worth-same", "['behind', 'undecided', 'ahead', 'ahead']"),
    (
        LESSONS + "10_experiments.ipynb",
        "with one random negative it is behind",
    ): Asserted("worth-same", "['behind', 'undecided', 'ahead', 'ahead']"),
    (
        LESSONS + "10_experiments.ipynb",
        "From a random start the 4 hardest are worth less than 4 random ones",
    ): Asserted("worth-same", "(four.rsum_verdict == 'ahead').all()"),
    (
        LESSONS + "10_experiments.ipynb",
        "SimCLR's effective number of negatives ends below the sum's",
    ): Asserted("softer-count", "['ahead', 'behind']"),
    (
        LESSONS + "10_experiments.ipynb",
        "Max Triplet alone stays near chance",
    ): Asserted("collapse-map", "plain[R1].max(axis=None) < 2"),
    (
        LESSONS + "10_experiments.ipynb",
        "a soft maximum and 100 first steps are ahead of the plain one",
    ): Asserted("collapse-remedies", "one.i2t_r1_verdict == one.t2i_r1_verdict == 'ahead'"),
    (
        LESSONS + "10_experiments.ipynb",
        "Max Triplet keeps less than Sum Triplet where captions are wrong",
    ): Asserted("harder-kept", "table['sum_triplet', 'max_triplet'] == 'ahead'"),
    (
        LESSONS + "10_experiments.ipynb",
        "at 40 % SimCLR keeps less than the sum",
    ): Asserted("harder-kept", "less['40% wrong']['simclr', 'sum_triplet'] == 'behind'"),
    (
        LESSONS + "10_experiments.ipynb",
        "SimCLR is ahead of each of the three others",
    ): Asserted("honest-gains", "(at_full.filter(like='verdict') == 'ahead').all(axis=None)"),
    (
        LESSONS + "10_experiments.ipynb",
        "Max Triplet with 100 first steps on all negatives is ahead of Sum Triplet",
    ): at_full_size("max_triplet", "sum_triplet"),
    (
        LESSONS + "10_experiments.ipynb",
        "With the epoch chosen on validation SimCLR is ahead of both triplet losses",
    ): Asserted(
        "length-curves", "found['chosen on validation'] == ['ahead', 'ahead', 'undecided']"
    ),
    (
        LESSONS + "10_experiments.ipynb",
        "At each loss's own best epoch SimCLR is ahead of Sum Triplet",
    ): on_photographs("each at its own best epoch", ("simclr", "sum_triplet")),
    (
        LESSONS + "10_experiments.ipynb",
        "After 72 epochs Sum Triplet is ahead of SimCLR",
    ): on_photographs("after 72 epochs", ("sum_triplet", "simclr")),
    (
        LESSONS + "11_scaling_up.ipynb",
        "All figures of this section about a T4 are estimates. Nobody measured them on a T4 for "
        "this course.",
    ): nothing_was_measured_on_a_t4,
    (
        LESSONS + "13_extensions.ipynb",
        "The start hardly matters for the end",
    ): Asserted("temperature-figure", "0.012 < path[-1] < 0.06 for start in (0.02, 0.5)"),
    (
        LESSONS + "13_extensions.ipynb",
        "With the positive out, there is no place to settle.",
    ): Asserted("temperature-figure", "path[-1] < 0.015 for start in (0.02, 0.5)"),
    (
        LESSONS + "13_extensions.ipynb",
        "With the positive in, it settles above the bound,",
    ): Asserted("temperature-figure", "0.012 < path[-1] < 0.06 for start in (0.02, 0.5)"),
}


@pytest.fixture(scope="module")
def bold() -> list[Bold]:
    return all_bold()


def test_bold_is_a_term_or_a_claim_with_an_entry(bold: list[Bold]) -> None:
    unbacked = [
        one for one in bold if not is_term(one.words) and (one.file, one.words) not in CLAIMS
    ]
    told = "\n".join(f"  {one.file}, {one.place}: {one.words}" for one in unbacked)
    assert not unbacked, (
        f"bold words that nothing backs:\n{told}\nGive each an entry in CLAIMS of {__file__}, with "
        "a function that computes it from recorded rows or the cell whose assert shows it; or take "
        "its bold away and say what it is: undecided, one seed, not measured."
    )


def test_every_entry_still_stands_in_the_text(bold: list[Bold]) -> None:
    standing = {(one.file, one.words) for one in bold}
    assert set(CLAIMS) <= standing, set(CLAIMS) - standing


@pytest.mark.parametrize(("file", "words"), CLAIMS)
def test_what_backs_a_claim_holds(file: str, words: str) -> None:
    backing = CLAIMS[file, words]
    if not isinstance(backing, Asserted):
        backing()
        return
    cells: dict[str, Any] = {cell.id: cell for cell in nbformat.read(ROOT / file, 4).cells}
    assert backing.cell in cells, f"{words!r} relies on the cell {backing.cell!r} of {file}"
    tree = ast.parse(cells[backing.cell].source)
    asserts = [ast.unparse(node.test) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert any(backing.expression in one for one in asserts), (
        f"{words!r} relies on an assert of {backing.expression!r}; {backing.cell} has {asserts}"
    )


def test_the_terms_rule_tells_claims_from_terms() -> None:
    for term in ("receptive field", "You will learn", "The last layer", "Not measured", "hub"):
        assert is_term(term), term
    for claim in ("it holds here", "SimCLR is ahead", "Max Triplet learns faster", "more helps"):
        assert not is_term(claim), claim


def test_bold_is_found_and_code_is_not() -> None:
    text = "a **hub** and <b>two\nwords</b>, `2 ** 3`, $x^{**}$, f(**options) and **this**"
    assert [words_of(span) for _, span in spans(text)] == ["hub", "two words", "this"]
