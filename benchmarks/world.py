"""Measure the four losses on the built-in world's test split, seeds 0 to 2.

    python benchmarks/world.py

One row per loss and seed goes to results/world.csv as soon as it is measured (run again, it resumes
where it stopped), means and their ratios to the best possible to results/world.md. The plain trials
are without the corrections: Max Triplet alone from the first step; Barlow Twins with its paper's
lambda of 0.0051 and no standardisation of the branches before ranking.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.metrics.ceiling import CEILING_NOTE, best_possible
from mmret_lib.show.tables import display_name
from mmret_lib.training import TrainConfig, build_loss, build_model, made_by, train_run

# name -> loss, settings of the loss, settings of the model
TRIALS: dict[str, tuple[str, dict, dict]] = {
    "simclr": ("simclr", {}, {}),
    "max_triplet": ("max_triplet", {}, {}),
    "barlow_twins": ("barlow_twins", {}, {}),
    "max_triplet, plain": ("max_triplet", {"all_negatives_steps": 0}, {}),
    "barlow_twins, plain": ("barlow_twins", {"lambda_": 0.0051}, {"standardise": False}),
    "sum_triplet": ("sum_triplet", {}, {}),
}
RECALLS = ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10"]


def measure(trial: str, seed: int, train: Store, test: Store) -> dict:
    loss, loss_settings, model_settings = TRIALS[trial]
    model = build_model(loss, train.pairs, seed=seed, **model_settings)
    config = TrainConfig(seed=seed, validate=False)
    module = build_loss(loss, **loss_settings)
    run = train_run(None, model, module, train, config, evaluate_on={"test": test})
    return {
        "trial": trial,
        "seed": seed,
        "seconds": run.record.figures["training_seconds"],
        "last_loss": round(run.history.rows[-1]["loss"], 4),
        **{name: round(value, 2) for name, value in run.record.figures["test"].items()},
    }


def report(rows: pd.DataFrame, ceiling: dict) -> str:
    measured = [trial for trial in TRIALS if trial in set(rows.trial)]
    mean = rows.groupby("trial").mean(numeric_only=True)
    spread = rows.groupby("trial").std(numeric_only=True)
    seeds = rows.groupby("trial").seed.nunique()
    lines = [
        "# The four losses on the built-in world",
        "",
        "`python benchmarks/world.py`. Test split: 1,000 images, 5 captions each; mean over the "
        "seeds, ± standard deviation; recalls in percent.",
        f"Made by {json.dumps(made_by())}.",
        "",
        "| loss | i2t R@1 | R@5 | R@10 | mean r | t2i R@1 | R@5 | R@10 | mean r | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for trial in measured:
        m, s = mean.loc[trial], spread.loc[trial]
        cells = [f"{m.i2t_r1:.1f} ± {s.i2t_r1:.1f}", f"{m.i2t_r5:.1f}", f"{m.i2t_r10:.1f}"]
        cells += [f"{m.i2t_mean_rank:.1f}"]
        cells += [f"{m.t2i_r1:.1f} ± {s.t2i_r1:.1f}", f"{m.t2i_r5:.1f}", f"{m.t2i_r10:.1f}"]
        cells += [f"{m.t2i_mean_rank:.1f}", f"{seeds[trial]}"]
        lines.append(f"| {display_name(trial)} | " + " | ".join(cells) + " |")
    best = [f"{ceiling[name]:.1f}" for name in ("i2t_r1", "i2t_r5", "i2t_r10", "i2t_mean_rank")]
    best += [f"{ceiling[name]:.1f}" for name in ("t2i_r1", "t2i_r5", "t2i_r10", "t2i_mean_rank")]
    lines += ["| *best possible* | " + " | ".join(best) + " | |", ""]
    lines += [f"*Best possible*: {CEILING_NOTE}.", ""]
    of = {**{trial: mean.loc[trial] for trial in measured}, "the best possible": ceiling}
    for over, under in (
        ("simclr", "the best possible"),
        ("simclr", "max_triplet"),
        ("barlow_twins", "simclr"),
        ("barlow_twins, plain", "simclr"),
    ):
        if over in of and under in of:
            ratios = [of[over][name] / of[under][name] for name in ("i2t_r1", "t2i_r1")]
            lines.append(
                f"- R@1 of {over} over {under}: {ratios[0]:.2f} image→text, "
                f"{ratios[1]:.2f} text→image"
            )
    return ("\n".join(lines) + "\n").replace(" ± nan", "")  # one seed has no spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    train, test = (pack(load_pairs("scenes", split=split), 64) for split in ("train", "test"))
    table = args.out / "world.csv"
    args.out.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    done = {(row["trial"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for trial in args.trials:
            if (trial, seed) not in done:
                rows.append(measure(trial, seed, train, test))
                pd.DataFrame(rows).to_csv(table, index=False)
                print({name: rows[-1][name] for name in ("trial", "seed", "seconds", *RECALLS)})
    text = report(pd.DataFrame(rows), best_possible(test.pairs).as_dict())
    (args.out / "world.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
