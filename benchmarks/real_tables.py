"""The tables of the report on `real.py`: losses, fixed budgets, curves, overfitting."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from real_rows import (
    FIGURES,
    Pick,
    Training,
    at_epoch,
    best_epoch,
    compare,
    curve,
    interval,
    ordered_couples,
    per_photo,
    row,
    sums,
)

from mmret_lib.show.tables import display_name

Tables = dict[str, dict[int, np.ndarray]]  # name -> seed -> hits of every photo
BUDGETS = (10, 20, 72)
COUNTED, LIMITED = 20, 35  # epochs of the trainings with n negatives, and with wrong captions
SHOWN = (1, 2, 4, 7, 10, 14, 20, 35, 72)  # epochs of the table of curves

# Added after a look at the first seed, so that its intervals are less sure than they say.
HINGES_TITLE = "Hinges, from one to all and softer (couples chosen after a look at the first seed)"
# The hardest hinge, the k largest, all of them, and a soft maximum.
HINGES = [
    ("margin_softmax", "max_triplet"),
    ("margin_softmax", "top_k_triplet"),
    ("margin_softmax", "sum_triplet"),
    ("top_k_triplet", "max_triplet"),
    ("top_k_triplet", "sum_triplet"),
]


def tables_of(trainings: Iterable[Training], pick: Pick) -> Tables:
    """Form -> seed -> hits; forms of which no seed is complete are left out."""
    groups: dict[str, list[Training]] = {}
    for training in trainings:
        groups.setdefault(training["form"], []).append(training)
    tables = {form: per_photo(group, pick) for form, group in groups.items()}
    return {form: table for form, table in tables.items() if table}


def means(tables: Tables, about: str) -> pd.DataFrame:
    """One row per form: the sum of recalls, and R@1 and R@10 both ways, with 95 % intervals."""
    rows = []
    for form, table in tables.items():
        hits = np.stack(list(table.values()))  # (seeds, photos, 6)
        columns = dict(zip(FIGURES, np.moveaxis(hits, 2, 0), strict=True))
        for name, values in {"rsum": hits.sum(2), **columns}.items():
            mean, low, high = interval(values)
            seeds = len(hits)
            rows.append((about, form, seeds, name, round(mean, 2), round(low, 2), round(high, 2)))
    names = ["about", "form", "seeds", "figure", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def cell(found: pd.DataFrame, form: str, figure: str = "rsum") -> str:
    """ "295.0 (285.1–305.1)" of a table of means; empty where there is none."""
    own = found[(found.form == form) & (found.figure == figure)]
    return "".join(f"{r['mean']:.1f} ({r.low:.1f}–{r.high:.1f})" for _, r in own.iterrows())


def sentence(found: pd.DataFrame) -> str:
    """The differences in words: those that are decided, and the others."""
    texts: dict[bool, list[str]] = {True: [], False: []}
    for _, r in found.iterrows():
        text = f"{display_name(r.one)} over {display_name(r.other)} {r.difference:+.1f}"
        texts[bool(r.decided)].append(f"{text} ({r.low:+.1f} to {r.high:+.1f})")
    return (
        f"Differences of rsum, with intervals that hold together at 95 % (each at "
        f"{100 * found.level.iloc[0]:.1f} %). Decided: {'; '.join(texts[True]) or 'none'}. "
        f"Undecided: {'; '.join(texts[False]) or 'none'}."
    )


def markdown(head: list[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    """A table; numbers with one decimal."""
    lines = ["", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for values in rows:
        cells = [f"{v:.1f}" if isinstance(v, float) else str(v) for v in values]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


class Results:
    """All tables of the report.

    Args:
        parts: name of a part -> its trainings that are done.
        searched: the rows of the search.
        course: the forms of the course's losses; the others are the atlas.
    """

    def __init__(
        self, parts: dict[str, list[Training]], searched: pd.DataFrame, course: Iterable[str]
    ) -> None:
        self.parts, self.searched, self.course = parts, searched, list(course)
        self.differences: list[pd.DataFrame] = []
        self.means: list[pd.DataFrame] = []
        self.final = parts["final"] + parts["final, atlas"]

    def note(
        self, tables: Tables, about: str, couples: list[tuple[str, str]]
    ) -> tuple[pd.DataFrame, str]:
        """Record means and differences, and return the means and the sentence on differences."""
        found = means(tables, about)
        self.means.append(found)
        couples = [c for c in couples if c[0] in tables and c[1] in tables]
        if not couples:
            return found, ""
        differences = compare(tables, couples, about)
        self.differences.append(differences)
        return found, sentence(differences)

    def losses(self) -> list[str]:
        """Every loss at its own settings, at its best epoch and at fixed budgets."""
        lines = []
        plans: list[tuple[str, Pick]] = [("each at its own best epoch", best_epoch())]
        plans += [(f"after {epoch} epochs", at_epoch(epoch)) for epoch in BUDGETS]
        for about, pick in plans:
            tables = tables_of(self.final, pick)
            course = {form: table for form, table in tables.items() if form in self.course}
            found, text = self.note(tables, about, ordered_couples(course))
            own = pd.DataFrame([row(t, about, pick) for t in self.final])
            rows = []
            for form in sorted(tables, key=lambda form: -sums(tables[form]).mean()):
                part = own[own.form == form]
                cells = [cell(found, form, f) for f in ("rsum", "i2t_r1", "t2i_r1")]
                middle = f"{part.epoch.median():.0f} ({part.epoch.min()}–{part.epoch.max()})"
                numbers = [float(part.effective.mean()), float(part.above_1_percent.mean())]
                rows.append([display_name(form), len(tables[form]), *cells, middle, *numbers])
            head = ["loss", "seeds", "rsum", "R@1 image→text", "R@1 text→image"]
            head += ["epoch, median (range)", "effective negatives", "shares above 0.01"]
            lines += [f"### {about[0].upper()}{about[1:]}", *markdown(head, rows)]
            lines += [f"Among the course's losses: {text}"]
            against = [(f, "simclr") for f in tables if f not in self.course]
            if against and "simclr" in tables:
                differences = compare(tables, against, f"{about}, atlas")
                self.differences.append(differences)
                lines += ["", f"The atlas against SimCLR, same seeds: {sentence(differences)}"]
            lines.append("")
            couples = [c for c in HINGES if c[0] in tables and c[1] in tables]
            if couples:
                differences = compare(tables, couples, f"{about}, hinges")
                self.differences.append(differences)
                lines += [
                    f"{HINGES_TITLE}: {sentence(differences)}",
                    "",
                ]
        return lines

    def long(self) -> list[str]:
        """The settings that are best after exactly 72 epochs."""
        tables = tables_of(self.parts["long"], at_epoch(72))
        about = "after 72 epochs, settings chosen for 72"
        found, text = self.note(tables, about, ordered_couples(tables))
        order = sorted(tables, key=lambda form: -sums(tables[form]).mean())
        rows = [[display_name(f), len(tables[f]), cell(found, f)] for f in order]
        return [
            f"### {about[0].upper()}{about[1:]}",
            *markdown(["loss", "seeds", "rsum"], rows),
            text,
        ]

    def curves(self) -> tuple[list[str], pd.DataFrame]:
        """Test recall against steps, and what stands beside it."""
        forms = tables_of(self.final, at_epoch(1))
        table = pd.concat([curve([t for t in self.final if t["form"] == f]) for f in forms])
        by = table.groupby(["form", "epoch"], sort=False).mean(numeric_only=True)
        lines = []
        for name, title in [
            ("rsum", "rsum on test photos"),
            ("seen_rsum", "rsum on 120 training photos (600 is all right)"),
            ("held_rsum", "rsum on the 120 held-out photos"),
            ("effective", "effective number of negatives"),
            ("above_1_percent", "negatives with a share above 0.01"),
            ("loss", "training loss, each in its own unit"),
        ]:
            rows: list[list[Any]] = []
            for form in forms:
                values = by.loc[form, name]
                if name == "loss":
                    shown = [f"{values[e]:.3f}" for e in SHOWN]
                else:
                    shown = [f"{values[e]:.1f}" for e in SHOWN]
                rows.append([display_name(form), *shown])
            head = ["loss", *(f"epoch {e}" for e in SHOWN)]
            lines += [f"**{title[0].upper()}{title[1:]}**", *markdown(head, rows)]
        return lines, table

    def overfitting(self) -> list[str]:
        """When each loss is best, and what it loses from there to 72 epochs."""
        best, last = tables_of(self.final, best_epoch()), tables_of(self.final, at_epoch(72))
        lost = {form: {s: last[form][s] - best[form][s] for s in best[form]} for form in best}
        course = {form: lost[form] for form in lost if form in self.course}
        about = "change from the best epoch to epoch 72"
        found, text = self.note(lost, about, ordered_couples(course))
        own = pd.DataFrame([row(t, "", best_epoch()) for t in self.final])
        equal = self.searched[(self.searched.rate == 2e-3) & self.searched.usual]
        rows = []
        for form in sorted(lost, key=lambda form: sums(lost[form]).mean()):
            part, same = own[own.form == form], equal[equal.form == form]
            rows.append(
                [
                    display_name(form),
                    f"{part.epoch.median():.0f}",
                    float(part.seen_rsum.mean()),
                    float(part.held_rsum.mean()),
                    cell(found, form),
                    f"{same.epoch.median():.0f}",
                    float((same.held_72 - same.held).mean()),
                ]
            )
        head = ["loss", "best epoch, median", "training photos there", "held-out photos there"]
        head += ["change to epoch 72, test", "best epoch at rate 0.002"]
        head += ["change to epoch 72 at rate 0.002, held-out"]
        return [*markdown(head, rows), text, ""]
