"""Put all twelve losses on one map: how they weigh their negatives, and what comes of it.

    python benchmarks/atlas.py             measures what is missing; hours, and it resumes
    python benchmarks/atlas.py --report    reports on the trainings that are there, a minute

Trains each loss with clean captions and with 20 % wrong ones (the study `atlas` of
mmret_lib/studies), times a step of each beside SimCLR, all in one run, and asks each loss four
questions about its own gradients (mmret_lib/show/atlas.py). Writes data/results/atlas_table.csv,
benchmarks/results/atlas.md and two figures beside it.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_file, write_text
from mmret_lib.losses.base import PairLoss
from mmret_lib.show.atlas import place_of, share_map
from mmret_lib.show.comparisons import gain_forest
from mmret_lib.show.tables import DISPLAY, display_name, gains, over_seeds, shares_kept
from mmret_lib.studies.measure import measure_studies
from mmret_lib.studies.studies import STUDIES
from mmret_lib.training.recipes import build_loss, made_by

HERE = Path(__file__).parent
BASE = "simclr"  # what the others are compared with
WAYS = {"i2t_r1": "image → text", "t2i_r1": "text → image"}
ENDS = ("", "_half", "_verdict")  # of the columns of a gain
WRONG = 0.2  # share of wrong captions
ALIKE = ("learnable", "mask_duplicates", "positive_in_denominator")  # settings not named
BATCH = 4096  # of the timing


# ---------------------------------------------------------------------------- measuring


def studied() -> dict[str, PairLoss]:
    """Build the losses with the settings that the searches chose, as the study trains them."""
    trials = {trial.loss: trial for trial in STUDIES["atlas"].trials.values()}
    return {name: build_loss(name, **trials[name].loss_settings).eval() for name in DISPLAY}


def setting(loss: PairLoss) -> str:
    """Name a loss's settings, without those that are alike in all."""
    inner = [f"{type(loss.loss).__name__}: {setting(loss.loss)}"] if hasattr(loss, "loss") else []
    parts = [part for part in loss.extra_repr().split(", ") if part.split("=")[0] not in ALIKE]
    return ", ".join(inner or parts).replace("_=", "=")


def time_losses(rounds: int) -> dict[str, dict[str, float]]:
    """Time forward and backward of each loss, all in turn in every round.

    Returns:
        loss -> milliseconds (median, fastest and slowest of the rounds) and its cost, the median
        of its ratios to SimCLR in the same round.
    """
    from losses import embeddings, step  # the script beside this one

    losses, leaves = studied(), embeddings(BATCH, "cpu", "float32")
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for number in range(rounds + 1):
        for name, loss in losses.items():
            spent = step(loss, leaves)
            if number > 0:  # in the first round libraries load what they need
                seconds[name].append(spent)
    times = {}
    for name, own in seconds.items():
        ratios = [mine / base for mine, base in zip(own, seconds[BASE], strict=True)]
        times[name] = {
            "milliseconds": round(1000 * statistics.median(own), 1),
            "fastest": round(1000 * min(own), 1),
            "slowest": round(1000 * max(own), 1),
            "cost": round(statistics.median(ratios), 2),
        }
        print(f"{name}: {times[name]}", flush=True)
    return times


def read_rows(results: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the trainings of the study that are there, none at first, and their epochs."""
    epochs = pd.read_csv(results / "epochs.csv")
    if not (results / "atlas.csv").exists():
        names = ["loss", "wrong_captions", "seed", *WAYS, "training"]
        return pd.DataFrame(columns=names).astype(dict.fromkeys(WAYS, float)), epochs[:0]
    rows = pd.read_csv(results / "atlas.csv")
    rows["wrong_captions"] = rows.wrong_captions.fillna(0)
    return rows, epochs[epochs.training.isin(rows.training)]


# ---------------------------------------------------------------------------- the table


def answers(losses: dict[str, PairLoss]) -> pd.DataFrame:
    """The four answers of each loss, empty where it does not go by similarities."""
    places = {name: place_of(loss) for name, loss in losses.items()}
    return pd.DataFrame(
        {
            name: {
                "settings": setting(losses[name]),
                "effective_of_64": place and round(place.effective, 1),
                "gate": place and place.gate,
                "falls_at_top": place and place.falls,
                "compete": place and place.compete,
            }
            for name, place in places.items()
        }
    ).T


def recalls(rows: pd.DataFrame) -> pd.DataFrame:
    """Recall of each loss on clean captions, and by how much it is ahead of SimCLR."""
    clean = rows[rows.wrong_captions == 0]
    table = over_seeds(clean, list(WAYS), by="loss")
    seeds = {loss: set(part.seed) for loss, part in clean.groupby("loss")}
    pairs = [
        (loss, BASE)
        for loss in DISPLAY
        if loss != BASE and len(seeds.get(loss, set()) & seeds.get(BASE, set())) > 1
    ]
    if not pairs:
        return table
    found = gains(clean, pairs, list(WAYS), by="loss").set_index("trial")
    names = {f"{way}{end}": f"{way}_gain{end}" for way in WAYS for end in ENDS}
    return table.join(found.rename(columns=names)[list(names.values())])


def kept(rows: pd.DataFrame) -> pd.DataFrame:
    """Which share of its clean recall each loss keeps with wrong captions, in percent."""
    shares = shares_kept(rows[rows.wrong_captions.isin([0, WRONG])], "wrong_captions", 0)
    table = over_seeds(shares, list(WAYS), by="loss")
    return table.rename(columns=lambda name: name.replace("_r1", "_kept"))


def counted(rows: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The negatives that count in the last epoch of the trainings on clean captions."""
    last = epochs[epochs.epoch == epochs.groupby("training").epoch.transform("max")]
    clean = rows[rows.wrong_captions == 0][["training", "loss", "seed"]]
    own = last.drop(columns="loss").merge(clean, on="training")
    return over_seeds(own, ["effective", "above_1_percent"], by="loss").drop(columns="seeds")


def build(
    rows: pd.DataFrame,
    epochs: pd.DataFrame,
    times: dict[str, Any],
    losses: dict[str, PairLoss],
) -> pd.DataFrame:
    """One row per loss, in the order of the course and its atlas."""
    shares = kept(rows).rename(columns={"seeds": "seeds_wrong"})
    table = answers(losses).join([recalls(rows), counted(rows, epochs), shares])
    table["cost"] = pd.Series({name: found["cost"] for name, found in times.items()})
    return table.rename_axis("loss").astype({"seeds": "Int64", "seeds_wrong": "Int64"})


# ---------------------------------------------------------------------------- the report


def text(table: pd.DataFrame, record: dict[str, Any], trainings: str) -> str:
    study = STUDIES["atlas"]
    seeds = list(study.seeds)
    lines = [
        "# The atlas: twelve losses, by how they weigh their negatives",
        "",
        f"`{record['command']}`, {record['date']}, on {record['machine']}. Seeds "
        f"{', '.join(map(str, seeds))}; trainings measured: {trainings}.",
        "",
        "![share of a negative against its similarity, one panel a loss](atlas.png)",
        "",
        "## Four questions",
        "",
        "Asked of each loss's own gradients: one query, its positive at a cosine of 0.6, 64 "
        "negatives spread evenly from -0.9 to 0.9. The settings are those that the searches chose "
        "on the val scenes, with which the losses are trained below.",
        "",
        "| loss | settings | how sharp: effective number of 64 | gate | falls at the top "
        "| negatives compete | cost, × SimCLR |",
        "|---|---|---|---|---|---|---|",
        *answer_lines(table),
        "",
        f"Cost: time of a step, forward and backward, on embeddings ({BATCH:,}, 128), float32, "
        f"as a ratio to SimCLR's in the same round; median of {record['rounds']} rounds, which go "
        f"through all losses in turn. Load of the machine before: {record['load']:.1f}.",
        "Barlow Twins has no negatives by similarity: it pushes image b from image k as hard as "
        "their texts are alike, so that the four questions do not apply.",
        "The false-negative filter is put around SimCLR. Here its guide is the batch's own "
        "similarities; in the trainings below it is the drawn world's own truth, which captions "
        "fit which scenes.",
        "",
        "## What comes of it",
        "",
        f"{study.question} Test scenes, R@1 in percent: mean ± 95 % interval over the "
        "seeds (Student's t). Over SimCLR: the difference seed by seed; its intervals hold at once "
        "for all losses of a column (Bonferroni), and one that includes zero is undecided. Kept: "
        f"R@1 with {WRONG:.0%} of the training captions wrong, in percent of the same seed's "
        "with none.",
        "",
        "| loss | image → text | over SimCLR | text → image | over SimCLR "
        "| effective negatives, last epoch | kept, i → t | kept, t → i | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
        *result_lines(table, len(seeds)),
        "",
    ]
    if "t2i_r1_gain" in table:
        lines += ["![difference to SimCLR, with intervals](atlas-gains.png)", ""]
    return "\n".join(lines)


def answer_lines(table: pd.DataFrame) -> Iterator[str]:
    for loss, row in table.iterrows():
        cells = ["–"] * 4
        if isinstance(row.gate, str):
            yes = ["yes" if answer else "no" for answer in (row.falls_at_top, row.compete)]
            cells = [f"{row.effective_of_64:.1f}", row.gate, *yes]
        cost = "–" if pd.isna(row.cost) else f"{row.cost:.2f}"
        start = f"| {display_name(str(loss))} | {row.settings} |"
        yield f"{start} {' | '.join(cells)} | {cost} |"


def result_lines(table: pd.DataFrame, wanted: int) -> Iterator[str]:
    for loss, row in table.iterrows():
        cells = []
        for way in WAYS:
            cells.append(cell(row, way))
            decided = "" if row.get(f"{way}_gain_verdict") != "undecided" else ", undecided"
            cells.append(cell(row, f"{way}_gain", "+") + decided)
        cells.append(cell(row, "effective"))
        cells += [cell(row, "i2t_kept"), cell(row, "t2i_kept")]
        done = [0 if pd.isna(row[name]) else row[name] for name in ("seeds", "seeds_wrong")]
        said = f"{done[0]} of {wanted}"
        said += "" if done[0] == done[1] else f", {done[1]} with wrong captions"
        yield f"| {display_name(str(loss))} | {' | '.join(cells)} | {said} |"


def cell(row: pd.Series, name: str, sign: str = "") -> str:
    """Format a mean and half its interval, as far as they are there."""
    mean, half = row.get(name), row.get(f"{name}_half")
    if mean is None or pd.isna(mean):
        return "–"
    return f"{mean:{sign}.1f}" + ("" if pd.isna(half) else f" ± {half:.1f}")


def save(figure: Figure, path: Path) -> None:
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


def report(results: Path, out: Path, record: dict[str, Any]) -> None:
    """Write the table, the page and the figures from what has been measured."""
    rows, epochs = read_rows(results)
    losses = studied()
    table = build(rows, epochs, record["times"], losses)
    write_text(results / "atlas_table.csv", table.round(2).to_csv(lineterminator="\n"))
    save(share_map(losses), out / "atlas.png")
    if "t2i_r1_gain" in table:
        save(gain_forest(differences(table), "R@1, difference to SimCLR"), out / "atlas-gains.png")
    study = STUDIES["atlas"]
    page = text(table, record, f"{len(rows)} of {len(study.trials) * len(study.seeds)}")
    write_text(out / "atlas.md", page)
    print(page)


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """The gains over SimCLR in the layout of `tables.gains`."""
    names = {f"{way}_gain{end}": f"{way}{end}" for way in WAYS for end in ENDS}
    compared = table[table.t2i_r1_gain.notna()]
    found = compared[list(names)].rename(columns=names)
    return found.assign(over=BASE).rename_axis("trial").reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    parser.add_argument("--results", type=Path, default=HERE.parent / "data" / "results")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    from loader import machine

    if "atlas" not in STUDIES:
        raise SystemExit("the searches of the atlas come first: `mmret experiments atlas_rates`")
    if not args.report:
        measure_studies(["atlas"], args.results)
    args.out.mkdir(parents=True, exist_ok=True)
    kept_times = args.out / "atlas.json"
    if args.report and kept_times.exists():
        record = json.loads(kept_times.read_text(encoding="utf-8"))
    else:
        load = os.getloadavg()[0]
        record = {
            "command": "python benchmarks/atlas.py",
            "date": date.today().isoformat(),
            "machine": machine(),
            "made_by": made_by(),
            "rounds": args.rounds,
            "load": load,
            "times": time_losses(args.rounds),
        }
        write_json(kept_times, record)
    report(args.results, args.out, record)


if __name__ == "__main__":
    main()
