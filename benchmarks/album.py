"""Search the album with heads that never saw it: recall beside chance and beside people's captions.

    python benchmarks/album.py --root ../shared/real

Each loss trains two heads on the features of the album's training photographs. The epochs are
chosen on its validation part, and the 156 album photos are only ranked. Five seeds. The reference
"people's captions" represents a photo by its other four captions (`captions_ceiling`), as
all-MiniLM-L6-v2 under --root embeds them: where that fails, several photos mostly show the same.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from mmret_lib.data import load_pairs
from mmret_lib.encoders import TextEncoder
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import keep_features
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.pocket import pocket_model
from mmret_lib.files.whole import write_text
from mmret_lib.metrics.ceiling import captions_ceiling
from mmret_lib.metrics.chance import chance
from mmret_lib.metrics.intervals import intervals
from mmret_lib.show.tables import display_name
from mmret_lib.studies.demo_album import SETTINGS
from mmret_lib.training import TrainConfig, build_loss, build_model, made_by, train_run, validate

LOSSES = ("simclr", "barlow_twins", "sum_triplet", "max_triplet")
SEEDS = range(5)
FIGURES = ("i2t_r1", "i2t_r10", "t2i_r1", "t2i_r10")


def line(title: str, figures: dict[str, float], note: str = "") -> str:
    cells = " | ".join(f"{figures[name]:.1f}" for name in FIGURES)
    return f"| {title} | {cells} | {note} |"


def people(root: Path, captions: list[str], owner: np.ndarray) -> dict[str, float]:
    """The recalls of a system that has read each photo's other captions."""
    text = TextEncoder(root / "weights" / "all-MiniLM-L6-v2", weights="pretrained")
    reader = DualEncoder(ImageEncoder(), text).eval()
    features = np.concatenate(
        [
            reader.text.extract_features(**reader.text.tokenize(captions[i : i + 64]))
            .detach()
            .numpy()
            for i in range(0, len(captions), 64)
        ]
    )
    return captions_ceiling(features, owner).as_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("../shared/real"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    pairs = {split: load_pairs("album", split=split) for split in ("train", "val", "test")}
    test = pairs["test"]
    kept = {name: keep_features(pocket_model(), part) for name, part in pairs.items()}
    lines = [
        "# The album, searched by heads that never saw it",
        "",
        f"`python benchmarks/album.py --root ../shared/real`. {len(test)} photos with "
        f"{len(test.captions)} captions; the heads were trained on the features of "
        f"{len(pairs['train']):,} other photos with {len(pairs['train'].captions):,} captions, the "
        f"epochs chosen on {len(pairs['val'])} more. Means over five seeds; recalls in percent.",
        f"Made by {json.dumps(made_by())}.",
        "",
        "| | image→text R@1 | R@10 | text→image R@1 | R@10 | |",
        "|---|---|---|---|---|---|",
    ]
    for loss in LOSSES:
        figures, epochs, seconds = [], [], []
        for seed in SEEDS:
            model = build_model(
                loss, pairs["train"], image_backbone="pocket", text_backbone="pocket", seed=seed
            )
            config = TrainConfig(train="projections", batch_size=256, seed=seed)
            module = build_loss(loss, **SETTINGS.get(loss, {}))
            run = train_run(
                None, model, module, kept["train"], config, validation=kept["val"], progress=False
            )
            figures.append(validate(model, kept["test"]).as_dict())
            epochs.append(run.record.figures["model_epoch"])
            seconds.append(run.history.training_seconds)
        mean = {name: float(np.mean([f[name] for f in figures])) for name in FIGURES}
        note = f"{np.median(epochs):.0f} epochs, {np.mean(seconds):.1f} s"
        lines.append(line(display_name(loss), mean, note))
    report = validate(pocket_model(), kept["test"])
    ranges = intervals(report)
    spans = "; ".join(f"{name} {ranges[name][0]:.0f}–{ranges[name][1]:.0f}" for name in FIGURES)
    lines.append(line("the pocket model (shipped heads)", report.as_dict(), f"95 %: {spans}"))
    lines.append(line("*people's captions*", people(args.root, test.captions, test.owner)))
    lines.append(line("*chance*", chance(test.owner)))
    official = [i for i, record in enumerate(test.image_info or []) if record["split"] == "val2017"]
    part = validate(pocket_model(), kept["test"].subset(official)).as_dict()
    lines += [
        "",
        f"Among the {len(official)} photos of val2017 alone the pocket model has R@1 "
        f"{part['i2t_r1']:.1f} / {part['t2i_r1']:.1f} and R@10 {part['i2t_r10']:.1f} / "
        f"{part['t2i_r10']:.1f} (image→text / text→image).",
    ]
    text = "\n".join(lines) + "\n"
    write_text(args.out / "album.md", text)
    print(text)


if __name__ == "__main__":
    main()
