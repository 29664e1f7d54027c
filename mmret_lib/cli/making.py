"""The commands that make what the course shows and ships: demo, experiments, pretrain."""

import json
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from mmret_lib.cli.flags import DEFAULT, Config
from mmret_lib.files.errors import DataError


def demo(
    out: Path = Path("runs/demo"),
    size: int | None = None,
    losses: tuple[str, ...] = (),
    config: Config = DEFAULT,
) -> None:
    """Compare losses, by default the course's four: on real photographs, then on drawn scenes.

    On photographs this takes seconds: the backbones stay as they are, and only two projections are
    trained for each loss, on features that come with mmret. Then whole models are trained on the
    drawn scenes of the built-in world, for minutes. Both parts print answers to queries and a
    table of recalls, and draw figures.

    Args:
        out: folder for the tables (CSV, JSON), the figures (PNG) and the trained runs; those of
            the photographs go to its folder album.
        size: drawn scenes to train on; by default all 8,000.
        losses: which losses, by default sum_triplet, max_triplet, simclr and barlow_twins; also
            those of the atlas, such as siglip or smooth_ap (mmret train --help lists them).
        config: how to train on the drawn scenes; each loss has the settings that were best for it
            on validation scenes, and the learning rates, unless you give one.
    """
    config.check_flags()
    if size is not None and size < 1:
        raise DataError(f"--size is {size}; it must be at least 1")
    from mmret_lib.studies.demo import run_demo

    run_demo(out, config, size=size, losses=losses)


def experiments(
    studies: Positional[tuple[str, ...]] = (),
    out: Path = Path("data/results"),
    jobs: int = 1,
) -> None:
    """Measure the studies that the lessons plot; called again, it continues where it stopped.

    Args:
        studies: names such as losses or barlow, by default all.
        out: folder for the tables; its README.md explains them.
        jobs: number of trainings at the same time; as many as the machine has cores is fastest.
    """
    from mmret_lib.studies.measure import measure_studies

    measure_studies(studies, out, jobs=jobs)


def pretrain(
    part: Positional[Literal["image", "text", "pocket-text", "pocket-heads"]],
    out: Path,
    texts: Path | None = None,
    teacher: Path | None = None,
    epochs: int = 2,
    temperature: float = 0.05,
    device: str = "auto",
) -> None:
    """Make the small pretrained weights that come with mmret, in data/mini and data/pocket.

    Args:
        part: image (the mini image backbone, trained to name sprites), text (the mini text
            backbone, distilled from a larger one), pocket-text (the pocket text backbone, distilled
            from a published sentence encoder), or pocket-heads (the pocket model's projections,
            trained on the album's features).
        out: folder for the weights and the recipe.
        texts: for pocket-text, a file of captions to learn from, one a line.
        teacher: for pocket-text, the folder of the sentence encoder, such as all-MiniLM-L6-v2.
        epochs: for pocket-text, passes over the texts in each of the two forms that are compared.
        temperature: for pocket-text, that of the softmax over similarities, in the second form.
        device: auto takes the GPU if there is one.
    """
    from mmret_lib.encoders.distil import distil_sentences
    from mmret_lib.encoders.pretrain import distil_text, pretrain_image
    from mmret_lib.files.records import write_json
    from mmret_lib.training.devices import pick_device
    from mmret_lib.training.pocket_heads import train_heads
    from mmret_lib.training.recipes import made_by

    command = f"mmret pretrain {part} --out {out}"
    on = str(pick_device(device))
    figures: dict[str, Any]
    if part == "pocket-text":
        if texts is None or teacher is None:
            raise DataError("pocket-text needs captions and a teacher: --texts FILE --teacher DIR")
        command += f" --texts {texts} --teacher {teacher}"
        command += f" --epochs {epochs} --temperature {temperature}"
        figures = distil_sentences(
            out, texts, teacher, epochs=epochs, temperature=temperature, device=on
        )
    elif part == "pocket-heads":
        figures = train_heads(out, device=on)
    elif part == "image":
        figures = pretrain_image(out, device=on)
    else:
        figures = distil_text(out, device=on)
    write_json(out / "recipe.json", {"command": command, "figures": figures, "made_by": made_by()})
    print(json.dumps(figures, indent=2))
