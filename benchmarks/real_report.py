"""Write what `real.py` has measured: data/results/real_*.csv and benchmarks/results/real.md."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from real_rows import Training, at_epoch, best_epoch, compare, ordered_couples, per_photo, row
from real_tables import (
    BUDGETS,
    COUNTED,
    LIMITED,
    Results,
    cell,
    markdown,
    means,
    sentence,
    tables_of,
)

from mmret_lib.files.records import write_json
from mmret_lib.files.whole import write_text
from mmret_lib.show.tables import display_name
from mmret_lib.training import made_by

COMMON = (
    "Flickr8k, 1,137 photos with 5 captions, five folds; frozen EfficientNet-Lite0 and "
    "all-MiniLM-L6-v2, two linear heads to 128 numbers, batches of 128, constant learning rate"
)
QUESTIONS = {
    "search": "Which learning rate and which value of its knob suit each loss in each fold?",
    "losses": "How do the losses compare on real photographs, each at its own settings?",
    "curves": "How do recall, training loss and the negatives that count change with training?",
    "negatives": "What is a negative worth? Batch and steps fixed, only n negatives count.",
    "wrong": "What do wrong captions in the training set cost each loss?",
    "differences": "Which differences are decided, compared photo by photo and seed by seed?",
    "means": "The recalls and their sum, with 95 % intervals over photos and seeds.",
}


def fewer_negatives(results: Results) -> tuple[list[str], pd.DataFrame]:
    """Recall against the number of negatives that count."""
    whole = [
        {**t, "count": 127, "pick": pick}
        for t in results.parts["final"]
        for pick in ("random", "hardest")
        if t["seed"] in {t["seed"] for t in results.parts["negatives"]}
    ]
    trainings = [*results.parts["negatives"], *whole]
    groups: dict[tuple[str, str, int], list[Training]] = {}
    for t in trainings:
        groups.setdefault((t["form"], t["pick"], t["count"]), []).append(t)
    kinds = sorted({k[:2] for k in groups if k[2] < 127}, key=lambda k: (k[1], k[0]))
    counts = sorted({k[2] for k in groups})
    lines, rows = [], []
    for about, pick in [
        (f"after 10 epochs, {10 * 6} steps", at_epoch(10)),
        (f"at the best epoch of the first {COUNTED}", best_epoch(COUNTED)),
    ]:
        shown, texts, every = [], [], {}
        for form, how in kinds:
            tables = {str(n): per_photo(groups.get((form, how, n), []), pick) for n in counts}
            tables = {n: table for n, table in tables.items() if table}
            every |= {f"{form}, {n} {how}": table for n, table in tables.items()}
            title = f"{display_name(form)}, {how}"
            couples = [("127", n) for n in tables if n != "127"]
            found, text = results.note(tables, f"n negatives, {form}, {how}, {about}", couples)
            shown.append([title, *(cell(found, str(n)) for n in counts)])
            texts += ["", f"{title}: {text}"]
        hard = [(f"{f}, {n} hardest", f"{f}, {n} random") for f, how in kinds for n in counts[:-1]]
        hard = [c for c in dict.fromkeys(hard) if c[0] in every and c[1] in every]
        if hard:
            differences = compare(every, hard, f"n hardest or random, {about}")
            results.differences.append(differences)
            texts += ["", f"The n hardest or n random ones: {sentence(differences)}"]
        lines += [f"### Rsum {about}", *markdown(["loss", *map(str, counts)], shown), *texts, ""]
        rows += [row(t, about, pick) for t in trainings if (t["form"], t["pick"]) in kinds]
    return lines, pd.DataFrame(rows)


def wrong_captions(results: Results) -> tuple[list[str], pd.DataFrame]:
    """Recall with wrong captions among the training captions."""
    trainings = results.parts["wrong"] + results.parts["wrong, atlas"]
    seeds = {(t["form"], t["seed"]) for t in trainings}
    trainings += [t for t in results.final if (t["form"], t["seed"]) in seeds]
    lines, rows = [], []
    for about, pick in [
        (f"at the best epoch of the first {LIMITED}", best_epoch(LIMITED)),
        ("after 35 epochs", at_epoch(LIMITED)),
    ]:
        tables = {
            share: tables_of([t for t in trainings if t["wrong"] == share], pick)
            for share in (0.0, 0.2, 0.4)
        }
        found, texts = {}, []
        for share, part in tables.items():
            course = {form: table for form, table in part.items() if form in results.course}
            name = f"{share:.0%} wrong captions, {about}"
            found[share], text = results.note(part, name, ordered_couples(course))
            texts += ["", f"{share:.0%} wrong, among the course's losses: {text}"] if share else []
        lost = {
            form: {s: table[s] - tables[0.0][form][s] for s in table}
            for form, table in tables[0.2].items()
        }
        results.note(lost, f"change through 20% wrong captions, {about}", ordered_couples(lost))
        change = means(lost, "")
        shown = [
            [display_name(f), *(cell(found[s], f) for s in tables), cell(change, f)]
            for f in tables[0.0]
        ]
        head = ["loss", "0 %", "20 %", "40 %", "change at 20 %"]
        lines += [f"### Rsum {about}", *markdown(head, shown), *texts, ""]
        rows += [row(t, about, pick) for t in trainings]
    return lines, pd.DataFrame(rows)


def pocket_share(results: Results) -> list[str]:
    """What the pocket pair keeps of the full pair's recall."""
    pick = best_epoch(LIMITED)
    pocket = tables_of(results.parts["pocket"], pick)
    full = tables_of(results.parts["final"], pick)
    found, text = results.note(pocket, "pocket pair, own best epoch", ordered_couples(pocket))
    rows = []
    for form, table in pocket.items():
        kept = [np.mean([t[s] for s in table], (0, 1)) for t in (table, full[form])]
        shares = [f"{share:.0%}" for share in kept[0] / kept[1]]
        pairs = [f"{shares[2]} / {shares[5]}", f"{shares[0]} / {shares[3]}"]
        rows.append([display_name(form), len(table), cell(found, form), *pairs])
    head = ["loss", "seeds", "rsum, pocket", "R@10 kept, image→text / text→image", "R@1 kept"]
    return [*markdown(head, rows), text, ""]


def chosen_settings(results: Results) -> list[str]:
    """The settings that the held-out photos chose, fold by fold."""
    chosen = results.searched[results.searched.chosen].sort_values("fold")
    rows = []
    for form, own in chosen.groupby("form", sort=False):
        rates = ", ".join(f"{rate:g}" for rate in own.rate)
        values = ", ".join(f"{value:g}" for value in own.value)
        rows.append([display_name(str(form)), rates, f"{own.knob.iloc[0]}: {values}"])
    usual = results.searched[results.searched.usual]
    largest, next_to_it = sorted(usual.rate.unique())[:-3:-1]
    held = usual.pivot_table(index="form", columns="rate", values="held")
    change = held[largest] - held[next_to_it]
    return [
        *markdown(["loss", "learning rate in each fold", "knob in each fold"], rows),
        f"The largest rate, {largest:g}, was chosen in {(chosen.rate == largest).sum()} of "
        f"{len(chosen)} searches; from {next_to_it:g} to {largest:g} the rsum on held-out photos "
        f"changes by {change.min():+.1f} to {change.max():+.1f}, mean over the folds.",
        "",
    ]


def all_rows(results: Results) -> pd.DataFrame:
    """One row per training and plan of the parts that compare the losses."""
    plans = [("chosen", best_epoch()), *((f"{n} epochs", at_epoch(n)) for n in BUDGETS)]
    rows = [row(t, plan, pick) for plan, pick in plans for t in results.final]
    rows += [row(t, "72 epochs, settings for 72", at_epoch(72)) for t in results.parts["long"]]
    rows += [row(t, "chosen", best_epoch(LIMITED)) for t in results.parts["pocket"]]
    return pd.DataFrame(rows).drop(columns=["wrong", "count", "pick"])


def write_report(results: Results, out: Path) -> None:
    """Write the tables into data/results and the page into benchmarks/results of a folder."""
    fewer, negatives = fewer_negatives(results)
    swapped, wrong = wrong_captions(results)
    along, curves = results.curves()
    page = [
        "# The losses on real photographs, with frozen backbones and two linear heads",
        "",
        "`python benchmarks/real.py --root ../shared/real`. " + COMMON + ". Recalls in percent, "
        "rsum is the sum of the six. Each photo is tested once, among the photos of its fold "
        "(about 227). Brackets are 95 % intervals over photos and seeds; the folds share training "
        "photos, which they leave out. The atlas, n negatives, wrong captions and the pocket pair "
        "have fewer seeds than the course's losses for want of computing time.",
        f"Made by {made_by()}.",
        "",
        "## The search",
        "",
        "Learning rate and knob of each loss, chosen on 120 held-out photos of each fold's "
        "training part, by eight trainings from a seed that is not reported; all are in "
        "`data/results/real_search.csv`.",
        *chosen_settings(results),
        "## The losses",
        "",
        *results.losses(),
        *results.long(),
        "",
        "## Along the training",
        "",
        "Each loss at its own settings, means over folds and seeds.",
        "",
        *along,
        "### Which overfits first",
        "",
        "At each loss's own settings, and in the search at one learning rate for all (0.002, "
        "knobs at their usual values). The pools of training and of held-out photos have 120 "
        "photos each.",
        *results.overfitting(),
        "## Only n negatives count",
        "",
        "Batches of 128; all else as above, at the settings chosen for all 127 negatives. Barlow "
        "Twins takes its term off the diagonal from n + 1 random pairs of the batch.",
        "",
        *fewer,
        "## Wrong captions",
        "",
        "A share of the training captions belongs to another photo; held-out and test captions are "
        "right. Settings as chosen without wrong captions.",
        "",
        *swapped,
        "## The pocket pair",
        "",
        f"The backbones that the course ships, best epoch of the first {LIMITED}, at the settings "
        "chosen for the full pair; beside it the full pair from the same seeds.",
        *pocket_share(results),
    ]
    write_text(out / "benchmarks" / "results" / "real.md", "\n".join(page) + "\n")
    tables = {
        "search": results.searched,
        "losses": all_rows(results),
        "curves": curves,
        "negatives": negatives.drop(columns=["wrong"], errors="ignore"),
        "wrong": wrong.drop(columns=["count", "pick"], errors="ignore"),
        "differences": pd.concat(results.differences),
        "means": pd.concat(results.means),
    }
    for name, table in tables.items():
        path = out / "data" / "results" / f"real_{name}.csv"
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
        origin = {
            "question": QUESTIONS[name],
            "command": "python benchmarks/real.py --root ../shared/real",
            "how": "1 at a time",
            "common": COMMON,
            "seeds": sorted({int(seed) for seed in table["seed"]}) if "seed" in table else None,
            "rows": len(table),
            "date": date.today().isoformat(),
            "made_by": made_by(),
        }
        write_json(path.with_suffix(".json"), origin)
