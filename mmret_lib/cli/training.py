"""The commands that train a model and measure it: train, features, evaluate."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from mmret_lib.cli.flags import (
    DEFAULT,
    DEFAULT_BACKBONES,
    NOT_GIVEN,
    Backbones,
    Config,
    DataName,
    Reading,
    text_or_none,
)
from mmret_lib.cli.opening import load, name_of_run, open_run, unreadable, where
from mmret_lib.cli.starting import data_of, loss_of, loss_settings_of, start_model
from mmret_lib.cli.stopping import command_line, stopped_training
from mmret_lib.files.errors import DataError


def train(
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    val_split: str | None = None,
    loss: str | None = None,
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    out: Path | None = None,
    temperature: float | None = None,
    margin: float | None = None,
    lambda_: Annotated[float | None, tyro.conf.arg(name="lambda")] = None,
    loss_settings: tuple[str, ...] = (),
    dim: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep: Path | None = None,
    features: Path | None = None,
    reading: Reading = NOT_GIVEN,
    backbones: Backbones = DEFAULT_BACKBONES,
    config: Config = DEFAULT,
) -> None:
    """Train one model on any data set and report its recall.

    After an interruption, the same command with --resume continues at that step. On several GPUs:
    accelerate launch --multi_gpu --num_processes 8 -m mmret_lib.cli train ...

    Args:
        data: the data set, by default scenes, or with --from that of the run; scenes (drawn) and
            album (photographs) come with mmret and need no root, vsepp is features in VSE++'s
            layout, and folder is your own photos.
        root: the folder of the data set.
        split: what to train on, by default the set's training split. For coco that is Karpathy's
            train+restval where his split file is there, else train2017 without 1,000 photos.
        val_split: what to measure recall on after each epoch, by default the set's validation
            split (for coco Karpathy's val, else these 1,000 photos: train2017-val), if it holds
            none of the photos to train on; none measures nothing.
        loss: sum_triplet, max_triplet, simclr or barlow_twins; or one of the atlas: margin_softmax,
            top_k_triplet, multi_similarity, siglip, smooth_ap, hard_negative_nce, adaptive_nce or
            false_negative_filter. By default simclr, or with --from that of the run.
        from_: start from the weights of this run (or RUN/best), in a new training with its own
            plan of the learning rate. Backbones and dimensions are those of the run.
        out: run folder to write, by default runs/DATA-LOSS.
        temperature: temperature of simclr, margin_softmax, smooth_ap, hard_negative_nce and
            adaptive_nce (siglip has a scale, one over it).
        margin: margin of the triplet losses and of margin_softmax.
        lambda_: weight of the off-diagonal term of barlow_twins.
        loss_settings: other settings of the loss, as its class in `mmret_lib.losses` names them,
            such as k=4 for top_k_triplet, or scale=20 learnable=False for siglip. inner=max_triplet
            names the loss that false_negative_filter filters, by default simclr.
        dim: dimensions of the space that photos and captions share, the length of an embedding; by
            default 128, or with --from those of the run.
        overwrite: replace the run, finished or not, that another training left in the run folder.
        resume: continue the interrupted training in the run folder; without one, start.
        keep: a second folder, such as one of a mounted Drive, that gets the newest snapshot now and
            then, and the finished run; with --resume, a run that was lost comes back from there.
        features: for --train projections, the folder that `mmret features --out` wrote.
        reading: how the data set is read.
        backbones: the networks that turn photos and captions into features.
        config: how to train.
    """
    from mmret_lib.data import splits_beside, usual_splits
    from mmret_lib.files.whole import refuse_strangers
    from mmret_lib.training.distributed import Processes
    from mmret_lib.training.recipes import build_loss
    from mmret_lib.training.run import train_run
    from mmret_lib.training.run_folder import HOLDS, refuse_to_replace
    from mmret_lib.training.schedule import fill_in_budget

    # What can be wrong in the command should show before minutes of preparation.
    processes = Processes.join(config.device)
    if not processes.first:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    config.check_flags()
    if str(reading.captions) in ("random", "first", "all") and data != "folder":
        raise DataError(
            f"the captions that an epoch shows are set by --epoch-captions {reading.captions}; "
            "--captions names the captions file of --data folder"
        )
    name, root, options, trained = data_of(from_, data, root, reading)
    loss = loss_of(from_, loss)
    started = f"-from-{from_.absolute().name}" if from_ else ""
    out = out or Path("runs") / f"{name}-{loss}{started}"
    refuse_strangers(out, HOLDS)
    if not resume and not overwrite:
        refuse_to_replace(out)
    flags = {"temperature": temperature, "margin": margin, "lambda_": lambda_}
    loss_module = build_loss(loss, **loss_settings_of(loss_settings, flags))
    split = split or usual_splits(name, root, **options)[0]
    usual_val, test_split = splits_beside(name, root, split, **options)
    val_split = text_or_none(val_split or usual_val or "none")
    validated_on = val_split or "nothing, so no best model is kept (--val-split names a split)"
    print(
        f"{name}: {split} to train on, {test_split} to test on, and to validate on {validated_on}"
    )
    pairs = load(name, root, split, **options)
    model = start_model(from_, loss, pairs, backbones, dim, config.seed)
    model.train_only(config.train, config.train_image, config.train_text)
    if config.epochs is None and not model.trains_backbones:
        validated = val_split is not None
        budget = fill_in_budget(config, len(pairs), backbones=False, validated=validated)
        wait = f" at most (patience {budget.patience})" if budget.patience else ""
        print(f"{budget.epochs} epochs{wait}, because only projections are trained")
    validation = load(name, root, val_split, **options) if val_split else None
    command = command_line() if processes.count == 1 else ""
    with stopped_training(out, first=processes.first, command=command):
        run = train_run(
            out,
            model,
            loss_module,
            pairs,
            config,
            validation=validation,
            evaluate_on={validation.split: validation} if validation is not None else {},
            root=root,
            data_options=options,
            features=features,
            max_unreadable=unreadable(trained, reading),
            resume=resume,
            overwrite=overwrite,
            begun_from=from_ and from_.absolute(),
            command=command,
            keep=keep,
        )
    if run.finished_before:
        done = run.record.config["epochs"]
        print(f"{out} is finished already, with these {done} epochs; nothing was trained")
        return
    seconds = run.history.training_seconds
    among = f" in {processes.count} processes" if processes.count > 1 else ""
    done, planned = len(run.history.rows), run.record.config["epochs"]
    epochs = f"{done} of {planned} epochs" if done < planned else f"{planned} epochs"
    if run.history.model_epoch < done:
        epochs += f"; the model is that of epoch {run.history.model_epoch}"
    print(
        f"{seconds:.0f} s of training ({epochs}){among}, "
        f"{run.history.waiting_seconds / seconds:.1%} of it waiting for data"
    )
    for part, report in run.reports.items():
        print(f"{name} {part}:\n{report}")
    # All of a captions file without splits is trained on, and would be what is measured.
    unseen = " --captions FILE, of photos that it was not trained on"
    print(f"wrote {out}\nMeasure it: mmret evaluate {out}{unseen if split == test_split else ''}")


def features(
    data: DataName = "scenes",
    root: Path | None = None,
    split: str | None = None,
    views: int = 0,
    augment: Literal["shift", "crop"] = "shift",
    dtype: Literal["float32", "float16"] = "float32",
    out: Path | None = None,
    device: str = "auto",
    reading: Reading = NOT_GIVEN,
    backbones: Backbones = DEFAULT_BACKBONES,
) -> None:
    """Compute the outputs of frozen backbones, once, and keep them to train projections on.

    An epoch of `mmret train --train projections` then takes seconds or less; it makes the features
    itself where they are missing. Called again, the command continues where it stopped.

    Args:
        data: the data set, as mmret train takes it.
        root: the folder of the data set.
        split: which part, by default the set's training split.
        views: number of augmented views of each photo, besides the photo itself.
        augment: how the views are made: shift moves and mirrors the photo, crop scales up a random
            part and mirrors it.
        dtype: float16 takes half the space and keeps three digits.
        out: folder to write, by default a place in the cache folder.
        device: auto takes the GPU if there is one.
        reading: how the data set is read.
        backbones: the networks that turn photos and captions into features.
    """
    from mmret_lib.data import usual_splits
    from mmret_lib.encoders.features import keep_features
    from mmret_lib.training.devices import pick_device
    from mmret_lib.training.recipes import build_model

    options = reading.options(data, root)
    split = split or usual_splits(data, root, **options)[0]
    pairs = load(data, root, split, **options)
    model = build_model("simclr", pairs, **backbones.settings()).to(pick_device(device))
    kept = keep_features(
        model,
        pairs,
        folder=out,
        views=views,
        augment=augment,
        dtype=dtype,
        max_unreadable=unreadable({}, reading),
    )
    for side in (kept.image, kept.text):
        if side is not None:
            size = sum(path.stat().st_size for path in side.folder.iterdir()) / 1e6
            print(f"{side.manifest['about']}: {side.folder}, {size:,.1f} MB")
    share = {"max_unreadable": reading.max_unreadable}
    named = {"data": data, "root": root, "split": split, **options, **share}
    again = "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in named.items()
        if value is not None
    )
    kind = f" --views {views} --augment {augment}" if views else ""
    place = f" --features {shlex.quote(str(out))}" if out else ""
    print(f"Train on them: mmret train{again}{backbones.flags()} --train projections{kind}{place}")


def evaluate(
    run: Positional[Path],
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    protocol: Literal["full", "1k"] = "full",
    judgements: Path | None = None,
    against: Path | None = None,
    table: Path | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    allow_leak: bool = False,
    reading: Reading = NOT_GIVEN,
) -> None:
    """Rank a split with a trained model: recall@K, mean and median rank, both directions.

    Every figure comes with its 95 % interval. On the drawn scenes it also prints the best recalls
    that a system scoring each pair by itself can reach, and the recalls where every picture that
    fits a caption counts as right.

    Args:
        run: run folder that `mmret train` wrote.
        data: data set, by default the one that the run was trained on.
        root: its folder, by default the run's.
        split: what to rank, by default the data set's test split.
        protocol: full ranks all images at once; 1k is the mean of five folds of 1,000 (COCO). A
            line says which published figures the result may be compared with.
        judgements: more right answers for COCO, found by people: the file sits_test.csv of CxC, or
            the data folder of ECCV Caption.
        against: another run folder; the difference of both is printed, with its interval.
        table: write a CSV file with every query, its rank, its hits among the first 1, 5 and 10
            (a fraction where answers tie) and the best wrong answer.
        json_file: also write the figures to this JSON file.
        allow_leak: rank images that the run was trained on, too; without this flag they are
            counted, and no recall is given.
        reading: how the data set is read, by default as for the run.
    """
    from mmret_lib.studies.evaluate_run import evaluate_run
    from mmret_lib.training.record import read_run

    keep_ids = judgements is not None
    model, pairs, _, share = open_run(run, data, root, split, reading, caption_ids=keep_ids)
    record = read_run(run)
    trained = record.data
    learnt = where(trained, None, None, trained["split"]) if trained["split"] else None
    evaluate_run(
        model,
        pairs,
        name=name_of_run(run),
        protocol=protocol,
        judgements=judgements,
        against=against,
        table=table,
        json_file=json_file,
        max_unreadable=share,
        allow_leak=allow_leak,
        recorded=where(trained, data, root, split, reading) == learnt,
        findings=record.findings,
    )
