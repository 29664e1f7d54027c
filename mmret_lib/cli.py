"""The command `mmret`: demo, data, features, train, evaluate, search, index, app and some more.

Every flag is a parameter below or a field of `TrainConfig`; `mmret COMMAND --help` lists them.
"""

import json
import os
import shlex
import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from mmret_lib.files.errors import DataError, MissingFile, visible
from mmret_lib.files.places import user_path
from mmret_lib.training.config import TrainConfig


@dataclass(frozen=True)
class CaptionsFile:
    """Where `--data folder` finds its captions; the options of `read_folder`."""

    captions: Path | None = None
    """captions of your own photos (--data folder): CSV, TSV or JSON lines with named columns"""
    image_column: str | None = None
    """the column of photo paths, where it has no usual name (image, filepath, file_name ...)"""
    caption_column: str | None = None
    """the column of captions, where it has no usual name (caption, title, text ...)"""
    split_column: str | None = None
    """the column that says which split a row is in, where it is not called split"""

    def options(self, data: str, root: Path | None) -> dict[str, str]:
        """What `load_pairs` needs besides root and split; the file's path is made absolute."""
        given = {f.name: str(v) for f in fields(self) if (v := getattr(self, f.name)) is not None}
        if given and data != "folder":
            flag = next(iter(given)).replace("_", "-")
            raise DataError(f"--{flag} is of your own photos: say --data folder, not {data}")
        if self.captions:
            place = self.captions
            if root is not None and not place.exists():
                place = root / place
            given["captions"] = str(place.absolute())
        return given


@dataclass(frozen=True)
class BackboneFlags:
    """The two backbones; the options of `build_model`."""

    image_backbone: str = "mini"
    """mini, resnet18, resnet34, resnet50, pocket (a small network that knows photos, and comes with
    mmret), or timm/NAME for any image model of timm, such as
    timm/vit_small_patch16_224.augreg_in21k_ft_in1k"""
    image_weights: str = "auto"
    """auto (what helps most), none, mini, imagenet, pocket, pretrained (timm's), or a safetensors
    file or a folder with one"""
    image_size: int | None = None
    """pixels along the side of the square to which photos are decoded, by default what suits the
    backbone"""
    text_backbone: str = "mini"
    """mini, pocket (a small one that knows photos' captions, and comes with mmret), or any
    BERT-family or sentence-transformers model by hub name or folder, such as
    distilbert-base-uncased"""
    text_weights: str = "auto"
    """auto (what helps most), none, mini, pocket or pretrained"""
    pooling: Literal["auto", "first", "mean", "max"] = "auto"
    """how a caption becomes one vector: its first token, the mean or the maximum of all; auto is
    what the model's own 1_Pooling/config.json says, else first"""
    max_length: int = 64
    """tokens kept of a caption, the two special ones counted"""

    def settings(self) -> dict[str, Any]:
        """What `build_model` takes."""
        weights = {n: _none(getattr(self, n)) for n in ("image_weights", "text_weights")}
        return {f.name: getattr(self, f.name) for f in fields(self)} | weights

    def flags(self) -> str:
        """The flags of a command that builds the same backbones."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return "".join(
            f" --{name.replace('_', '-')} {value}"
            for name, value in given.items()
            if value != getattr(DEFAULT_BACKBONES, name)
        )


@dataclass(frozen=True)
class TrainFlags(TrainConfig):
    """`TrainConfig` with one flag of another name, because `--captions` names a file."""

    captions: Annotated[Literal["random", "first", "all"], tyro.conf.arg(name="epoch-captions")] = (
        "random"
    )


Config = OmitArgPrefixes[TrainFlags]
Captions = OmitArgPrefixes[CaptionsFile]
NOT_GIVEN = CaptionsFile()
Backbones = OmitArgPrefixes[BackboneFlags]
DEFAULT_BACKBONES = BackboneFlags()
DEFAULT = TrainFlags()
DataName = Literal["scenes", "album", "coco", "flickr8k", "flickr30k", "vsepp", "folder"]
Backend = Literal["exact", "flat", "hnsw", "ivf", "milvus"]

# `[RUN] QUERY`: where only one is given, it is the second. Two parameters and not a tuple, because
# options may stand between them.
RUN = tyro.conf.arg(metavar="[RUN]", help_behavior_hint="")
QUERY = tyro.conf.arg(metavar="QUERY", help_behavior_hint="")
INDEX = tyro.conf.arg(metavar="INDEX", help_behavior_hint="")

app = tyro.extras.SubcommandApp()
types = tyro.constructors.ConstructorRegistry()


@types.primitive_rule
def _path(
    wanted: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Path] | None:
    """Every path may begin with ~: a shell does not replace it in `--root=~/photos`."""
    if wanted.type is not Path:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda given: user_path(given[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


@app.command
def demo(out: Path = Path("runs/demo"), size: int | None = None, config: Config = DEFAULT) -> None:
    """Train the four losses on the built-in world; print the results table, draw the figures.

    Args:
        out: folder for the table (CSV, JSON), the figures (PNG) and the trained runs.
        size: training scenes; by default the whole world of 8,000.
        config: the training of every loss.
    """
    from mmret_lib.studies.demo import run_demo

    run_demo(out, config, size=size)


@app.command(name="data")
def prepare(
    data: Positional[DataName],
    root: Path | None = None,
    parts: tuple[str, ...] = (),
    size: tuple[int, ...] = (64,),
    keep_archives: bool = False,
    max_unreadable: float = 0.01,
    captions: Captions = NOT_GIVEN,
) -> None:
    """Fetch a data set, check it, and pack its photos so that they load fast in training.

    Run again, the command continues where it stopped. Flickr30k's photos have to be requested by
    hand; it says where, and what to do with them. A data set that lies under root is only packed.

    Args:
        data: the data set; "scenes" (drawn) and "album" (shipped) need no root, "folder" is your
            own photos.
        root: folder to save it in, or where it lies already.
        parts: the parts to fetch, such as val2017 annotations2017, or 2014 for Karpathy's split.
        size: pixels along a packed photo's side: 64 for the mini backbone, 224 for the ResNets, 256
            for the pocket one, or several of them; 0 packs nothing.
        keep_archives: keep what was downloaded after unpacking it.
        max_unreadable: share of images that may be unreadable before that is an error.
        captions: of your own photos.
    """
    from mmret_lib.data import SPLITS, folder, sources
    from mmret_lib.data.store import pack

    splits = [split for split in SPLITS[data] if split]
    if data == "coco":  # whichever parts are there; the last three are Karpathy's
        splits = ["train2017", "val2017", "train+restval", "val", "test"]
    options = captions.options(data, root)
    if data == "folder":
        splits = folder.splits_of(root, **options)
    elif root is None and data not in ("scenes", "album"):
        raise DataError(f"say where to keep {data}, or where it lies: --root FOLDER")
    loaded = {split: _load_if_there(data, root, split, **options) for split in splits}
    if root is not None and data not in ("scenes", "album", "folder"):
        begun = (root / sources.NOTE).exists()  # by an earlier call, perhaps not finished
        if parts or begun or not any(loaded.values()):
            sources.get(data, root, parts or None, keep_archives=keep_archives)
            loaded = {split: _load_if_there(data, root, split) for split in splits}
    for split, pairs in loaded.items():
        if pairs is None:
            if data == "coco":
                continue
            pairs = _load(data, root, split, **options)  # says what is missing
        print(f"{data} {split}: {len(pairs):,} images, {len(pairs.captions):,} captions")
        for side in filter(None, size if pairs.features is None else ()):  # else it has no photos
            store = pack(pairs, side, max_unreadable=max_unreadable)
            print(f"  packed at {side} pixels: {store.folder}")


@app.command
def train(
    data: DataName = "scenes",
    root: Path | None = None,
    split: str | None = None,
    val_split: str | None = None,
    loss: str = "simclr",
    out: Path | None = None,
    temperature: float | None = None,
    margin: float | None = None,
    lambda_: Annotated[float | None, tyro.conf.arg(name="lambda")] = None,
    dim: int = 128,
    max_unreadable: float = 0.01,
    resume: bool = False,
    features: Path | None = None,
    captions: Captions = NOT_GIVEN,
    backbones: Backbones = DEFAULT_BACKBONES,
    config: Config = DEFAULT,
) -> None:
    """Train one model on any data set and report its recall.

    After an interruption, the same command with --resume continues at that step. On several GPUs:
    accelerate launch --multi_gpu --num_processes 8 -m mmret_lib.cli train ...

    Args:
        data: the data set; "scenes" (the built-in world) and "album" (photographs that come with
            mmret) need no root, "folder" is your own photos.
        root: folder of the data set.
        split: what to train on, by default the set's training split.
        val_split: what to measure recall on after each epoch; "none" measures nothing.
        loss: sum_triplet, max_triplet, simclr or barlow_twins; any other name in
            `mmret_lib.losses.LOSSES`.
        out: run folder to write, by default runs/DATA-LOSS.
        temperature: temperature of simclr.
        margin: margin of the triplet losses.
        lambda_: weight of barlow_twins' off-diagonal term.
        dim: length of an embedding, in the space that photos and captions share.
        max_unreadable: share of images that may be unreadable before training refuses to start.
        resume: continue the training in the run folder, or start if there is none.
        features: folder that mmret features --out wrote, where only projections are trained.
        captions: of your own photos.
        backbones: what turns photos and captions into features.
        config: how to train.
    """
    from mmret_lib.data import usual_splits
    from mmret_lib.files.whole import refuse_strangers
    from mmret_lib.training.distributed import Processes
    from mmret_lib.training.recipes import build_loss, build_model
    from mmret_lib.training.run import HOLDS, train_run
    from mmret_lib.training.schedule import fill_in_budget

    # What can be wrong in the command should show before minutes of preparation.
    processes = Processes.join(config.device)
    if not processes.first:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    out = out or Path("runs") / f"{data}-{loss}"
    refuse_strangers(out, HOLDS)
    loss_module = build_loss(loss, temperature=temperature, margin=margin, lambda_=lambda_)
    if str(captions.captions) in ("random", "first", "all") and data != "folder":
        raise DataError(
            f"the captions that an epoch shows are set by --epoch-captions {captions.captions}; "
            "--captions names the captions file of --data folder"
        )
    options = captions.options(data, root)
    train_split, usual_val, _ = usual_splits(data, root, **options)
    split, val_split = split or train_split, _none(val_split or usual_val or "none")
    pairs = _load(data, root, split, **options)
    model = build_model(
        loss,
        pairs,
        **backbones.settings(),
        dim=dim,
        seed=config.seed,
    )
    model.train_only(config.train, config.train_image, config.train_text)
    if config.epochs is None and not model.trains_backbones:
        validated = val_split is not None
        budget = fill_in_budget(config, len(pairs), backbones=False, validated=validated)
        wait = f" at most (patience {budget.patience})" if budget.patience else ""
        print(f"{budget.epochs} epochs{wait}, because only projections are trained")
    validation = _load(data, root, val_split, **options) if val_split else None
    run = train_run(
        out,
        model,
        loss_module,
        pairs,
        config,
        validation=validation,
        evaluate_on={val_split: validation} if val_split and validation is not None else {},
        root=root,
        data_options=options,
        features=features,
        max_unreadable=max_unreadable,
        resume=resume,
    )
    if run.finished_before:
        print(f"{out} is finished already; there is nothing to resume")
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
    for name, report in run.reports.items():
        print(f"{data} {name}:\n{report}")
    print(f"wrote {out}\nMeasure it: mmret evaluate {out}")


@app.command
def features(
    data: DataName = "scenes",
    root: Path | None = None,
    split: str | None = None,
    views: int = 0,
    augment: Literal["shift", "crop"] = "shift",
    dtype: Literal["float32", "float16"] = "float32",
    out: Path | None = None,
    max_unreadable: float = 0.01,
    device: str = "auto",
    captions: Captions = NOT_GIVEN,
    backbones: Backbones = DEFAULT_BACKBONES,
) -> None:
    """Compute what the backbones make of photos and captions, for training only projections.

    Such a training then takes seconds an epoch. Run again, the command continues where it stopped.

    Args:
        data: the data set, as mmret train takes it.
        root: folder of the data set.
        split: which part, by default the set's training split.
        views: augmented views of each photo, beside the photo as it is.
        augment: how these are made.
        dtype: float16 takes half the size and keeps three digits.
        out: folder to write, by default a place in the cache folder.
        max_unreadable: share of images that may be unreadable before that is an error.
        device: auto takes the GPU if there is one.
        captions: of your own photos.
        backbones: what turns photos and captions into features.
    """
    from mmret_lib.data import usual_splits
    from mmret_lib.encoders.features import keep_features
    from mmret_lib.training.devices import pick_device
    from mmret_lib.training.recipes import build_model

    options = captions.options(data, root)
    split = split or usual_splits(data, root, **options)[0]
    pairs = _load(data, root, split, **options)
    model = build_model("simclr", pairs, **backbones.settings()).to(pick_device(device))
    kept = keep_features(
        model,
        pairs,
        folder=out,
        views=views,
        augment=augment,
        dtype=dtype,
        max_unreadable=max_unreadable,
    )
    for side in (kept.image, kept.text):
        if side is not None:
            size = sum(path.stat().st_size for path in side.folder.iterdir()) / 1e6
            print(f"{side.manifest['about']}: {side.folder}, {size:,.1f} MB")
    named = {"data": data, "root": root, "split": split, **options}
    again = "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in named.items()
        if value is not None
    )
    kind = f" --views {views} --augment {augment}" if views else ""
    place = f" --features {shlex.quote(str(out))}" if out else ""
    print(f"Train on them: mmret train{again}{backbones.flags()} --train projections{kind}{place}")


@app.command
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
    captions: Captions = NOT_GIVEN,
) -> None:
    """Rank a split with a trained model: recall@K, mean and median rank, both directions.

    Every figure comes with its 95 % interval. On the built-in world, the best possible figures are
    printed too, and those that count every picture that fits a caption as a right answer.

    Args:
        run: run folder that `mmret train` wrote.
        data: data set, by default the one the run was trained on.
        root: its folder, by default the run's.
        split: what to rank, by default the data set's test split.
        protocol: 1k: the mean of five folds of 1,000 images (COCO); full: all at once.
        judgements: of COCO, more right answers: CxC's sits_test.csv or ECCV Caption's data folder.
        against: another run folder, to be compared with image by image.
        table: write a CSV file with every query, its rank and the best wrong answer.
        json_file: also write the figures here.
        captions: of your own photos, by default the run's.
    """
    from mmret_lib.studies.evaluate_run import evaluate_run
    from mmret_lib.training.run import read_run

    keep_ids = judgements is not None
    model, pairs, _ = _open_run(run, data, root, split, captions, caption_ids=keep_ids)
    trained = read_run(run).data
    learnt = _where(trained, None, None, trained["split"]) if trained["split"] else None
    if _where(trained, data, root, split, captions) == learnt:
        print(
            f"warning: {run} was trained on these very photos; its recall on them says little "
            "about others (choose others with --split or --captions)",
            file=sys.stderr,
        )
    evaluate_run(
        model,
        pairs,
        name=run.name,
        protocol=protocol,
        judgements=judgements,
        against=against,
        table=table,
        json_file=json_file,
    )


@app.command
def search(
    run: Annotated[Positional[str | None], RUN] = None,
    query: Annotated[Positional[str | None], QUERY] = None,
    k: int = 5,
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    backend: Backend | None = None,
    index: Path | None = None,
    milvus: str | None = None,
    out: Path | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    captions: Captions = NOT_GIVEN,
) -> None:
    """Find the images for a text; or, where the query is a picture file, the captions for it.

    In an index of photos without captions, a picture finds those that are similar. Embeddings of a
    data set are saved in the cache folder, so the next search with the same model is quick.

    Args:
        run: run folder that `mmret train` wrote. Without it the pocket model searches, which comes
            with mmret, and --index or --data says what.
        query: a text, or the path of a picture. What ends like a picture (.jpg, .tif, ...), begins
            like a path (/, ./, ~/), or has a slash and no space is taken for a picture file.
        k: answers to show.
        data: data set to search, by default the one the run was trained on.
        root: its folder, by default the run's.
        split: what to search, by default the data set's test split.
        backend: exact (default); flat, hnsw, ivf (FAISS) or milvus, for large collections.
        index: folder of an index, which is opened, or made if it is not there.
        milvus: address of a Milvus, or a file ending in .db; its token is read from MILVUS_TOKEN.
        out: also write the answers as a page with pictures.
        json_file: also write the answers here: ranks, scores, paths and captions.
        captions: of your own photos, by default the run's.
    """
    from mmret_lib.search.query import picture_or_text

    if run is None:
        raise DataError('say what to look for, such as "a red bus": mmret search --help')
    model_of = user_path(run) if query is not None else None
    query = run if query is None else query
    asked = picture_or_text(query)  # first, because what follows takes seconds to import
    there = index is not None and (index / "manifest.json").exists()
    if model_of is None and not there and data is None:
        raise DataError(
            f"there is no index {index}; make one: mmret index --photos FOLDER {index}"
            if index
            else "say where to search: --index FOLDER, --data NAME, or the run folder of a model "
            "before the query"
        )
    from mmret_lib.search.hits import write_hits
    from mmret_lib.search.index import SearchIndex
    from mmret_lib.search.photos import unfinished
    from mmret_lib.show.html import write_page

    backend = backend or ("milvus" if milvus else None)
    if index is not None and there:
        other = data or root or split or milvus or captions != NOT_GIVEN
        opened, title = _open_index(model_of, index, backend, bool(other))
    else:
        model, pairs, title = _open_run(model_of, data, root, split, captions)
        opened = SearchIndex.build(
            model,
            pairs,
            backend=backend or "exact",
            folder=index,
            uri=milvus,
            token=os.environ.get("MILVUS_TOKEN"),
            cached=index is None,
        )
    with opened:
        if not isinstance(asked, Path):
            hits = opened.by_text(asked, k)
        elif opened.pairs.captions:
            hits = opened.by_image(asked, k)
        else:
            hits = opened.similar_images(asked, k)
    print(f"{title}: {len(opened):,} images searched")
    for line in filter(None, [opened.recall and opened.summary, unfinished(opened)]):
        print(line)
    print("\n".join(map(str, hits)))
    if json_file:
        write_hits(json_file, asked, hits, collection=title, images=len(opened))
        print(f"wrote {json_file}")
    if out:
        write_page(out, asked, hits, title=title)
        print(f"wrote {out}")


def _open_index(
    run: Path | None, folder: Path, backend: str | None, other: bool
) -> tuple[Any, str]:
    """Open an index, and say whose it is; `other`: the command names other data as well."""
    from mmret_lib.search.index import SearchIndex

    again = f"mmret index {run or '--photos FOLDER'} {folder}"
    if other:
        raise DataError(
            f"{folder} holds its own collection; leave out --data, --root, --split, --captions "
            f"and --milvus, or build it anew: {again}"
        )
    model, _, name = _open_model(run)
    opened = SearchIndex.open(folder, model, token=os.environ.get("MILVUS_TOKEN"))
    if backend not in (None, opened.backend):
        raise DataError(
            f"{folder} is searched by {opened.backend}; build it anew for another: "
            f"{again} --backend {backend}"
        )
    return opened, f"{name} on {visible(opened.pairs.name)} {visible(opened.pairs.split)}"


@app.command(name="index")
def make_index(
    run: Annotated[Positional[Path | None], RUN] = None,
    folder: Annotated[Positional[Path | None], INDEX] = None,
    photos: Path | None = None,
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    backend: Backend | None = None,
    milvus: str | None = None,
    add: bool = False,
    captions: Captions = NOT_GIVEN,
) -> None:
    """Embed a collection once and keep it in a folder, for `mmret search --index INDEX`.

    With --photos, of any folder of your own, no captions needed: run again, the command adds what
    is new in the folder and drops what has gone; killed, it goes on where it was. Of a data set,
    an existing index can be searched until the new one is complete and replaces it, and stays as
    it was if the command fails or is killed.

    Args:
        run: run folder that `mmret train` wrote; without it, the pocket model, which comes with
            mmret, embeds the collection.
        folder: where to keep the index.
        photos: a folder of photos, subfolders too.
        data: data set to index, by default the one the run was trained on.
        root: its folder, by default the run's.
        split: what to index, by default the data set's test split.
        backend: exact (default); flat, hnsw, ivf (FAISS) or milvus, for large collections.
        milvus: address of a Milvus, or a file ending in .db; its token is read from MILVUS_TOKEN.
        add: add the data set to the existing index.
        captions: of your own photos, by default the run's.
    """
    if run is None:
        raise DataError("say where to keep the index: mmret index --help")
    model_of = run if folder is not None else None
    folder = run if folder is None else folder
    if add and (backend or milvus):
        raise DataError("--add uses the backend of the index; leave out --backend and --milvus")
    if photos is not None and (
        data
        or root
        or split
        or add
        or milvus
        or captions != NOT_GIVEN
        or backend not in (None, "exact")
    ):
        raise DataError(
            "an index of photos follows its folder and is searched exactly; give --photos without "
            "--data, --root, --split, --captions, --backend, --milvus and --add"
        )
    if photos is None and model_of is None and data is None:
        raise DataError(
            "say what to index: --photos FOLDER, --data NAME, or the run folder of a model before "
            "the index"
        )
    if photos is not None:
        _index_photos(model_of, photos, folder)
        return
    from mmret_lib.search.index import SearchIndex

    model, pairs, title = _open_run(model_of, data, root, split, captions)
    token = os.environ.get("MILVUS_TOKEN")
    if add:
        opened = SearchIndex.open(folder, model, token=token).add(pairs)
    else:
        backend = backend or ("milvus" if milvus else "exact")
        opened = SearchIndex.build(
            model, pairs, backend=backend, folder=folder, uri=milvus, token=token
        )
    opened.close()
    counts = f"{len(opened):,} images, {len(opened.pairs.captions):,} captions"
    print(f"{title}: {folder} holds {counts}; {opened.summary}")


def _index_photos(run: Path | None, photos: Path, folder: Path) -> None:
    from mmret_lib.data.photos import list_photos

    list_photos(photos)  # a wrong folder shows before the model is opened, which takes seconds
    from mmret_lib.search.photos import index_photos

    model, _, _ = _open_model(run)
    update = index_photos(model, photos, folder, run=str(run.absolute()) if run else "")
    print(update)
    with_run = f"{run} " if run else ""
    print(
        f"{folder} holds {len(update.index):,} photos; search them: "
        f'mmret search {with_run}"red bus" --index {folder}'
    )


@app.command(name="app")
def explore(
    runs: Positional[tuple[Path, ...]] = (),
    photos: Path | None = None,
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8866,
    browser: bool = True,
    captions: Captions = NOT_GIVEN,
) -> None:
    """Open the explorer in the browser: type a sentence, take a picture, compare the losses.

    Args:
        runs: run folders to choose from, by default all finished ones under runs/ that were
            trained on the same data as the first; where there is none, two small models are
            trained in about a minute.
        photos: a folder of photos of your own, subfolders too, to be searched instead, by the
            pocket model that comes with mmret, or by runs. Its index is kept in the cache folder.
        data: data set to search, by default the one the first run was trained on.
        root: its folder, by default the run's.
        split: what to search, by default the data set's test split.
        host: address to listen at; 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can
            reach it, without a password.
        port: port of the page; if it is in use, the next free one.
        browser: open the page in the browser.
        captions: of your own photos, by default the first run's.
    """
    if photos is not None:
        if data or root or split or captions != NOT_GIVEN:
            raise DataError(
                "--photos names all there is to search; leave out --data, --root, --split and "
                "--captions"
            )
        from mmret_lib.show.photos import serve_photos

        serve_photos(photos, runs, host=host, port=port, browser=browser)
        return
    from mmret_lib.show.app import choose_runs, serve

    chosen, trained = choose_runs(runs, data)
    name, root, split, options = _where(trained, data, root, split, captions)
    serve(
        chosen,
        data=name,
        root=root,
        split=split,
        options=options,
        host=host,
        port=port,
        browser=browser,
    )


@app.command
def pretrain(
    part: Positional[Literal["image", "text", "pocket-text", "pocket-heads"]],
    out: Path,
    texts: Path | None = None,
    teacher: Path | None = None,
    epochs: int = 2,
    temperature: float = 0.05,
    device: str = "auto",
) -> None:
    """Make the small pretrained backbones that data/mini and data/pocket ship.

    Args:
        part: image (the mini one, by naming sprites), text (the mini one, by distillation),
            pocket-text (by distillation from a published sentence encoder), or pocket-heads (the
            pocket model's projections, on the album's features).
        out: folder for the weights and the recipe.
        texts: for pocket-text, captions to learn from, one a line.
        teacher: for pocket-text, folder of the sentence encoder, such as all-MiniLM-L6-v2.
        epochs: for pocket-text, passes over the texts in each of the two forms that are compared.
        temperature: for pocket-text, of the form that compares similarities by their softmax.
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


@app.command
def experiments(
    studies: Positional[tuple[str, ...]] = (),
    out: Path = Path("data/results"),
    jobs: int = 1,
) -> None:
    """Measure the studies that the lessons plot; run again, it continues where it stopped.

    Args:
        studies: names such as losses or barlow, by default all.
        out: folder for the tables; its README.md explains them.
        jobs: trainings at a time; as many as the machine has cores is fastest.
    """
    from mmret_lib.studies.measure import measure_studies

    measure_studies(studies, out, jobs=jobs)


@app.command(name="cache")
def show_cache(clear: bool = False, older_than: str | None = None) -> None:
    """List what mmret keeps in its cache folder, or delete it; MMRET_CACHE moves the folder.

    Files that a running training or search uses stay, and so do weights that you put there
    yourself. Everything else is made again when it is needed.

    Args:
        clear: delete it, and print how much space that freed.
        older_than: only files not used for so long: hours, days or weeks, such as 12h, 30d, 6w.
    """
    from mmret_lib.files import cache

    if clear:
        print(cache.summary_of(*cache.clear_cache(older_than)))
    else:
        print(cache.table_of(cache.list_cache(older_than)))


def _none(value: str) -> str | None:
    return None if value.lower() == "none" else value


def _load(data: str, root: Path | None, split: str | None, **options: Any) -> Any:
    """Read a split, and say what was left out of it."""
    from mmret_lib.data import load_pairs

    pairs = load_pairs(data, root=root, split=split, **options)
    for line in pairs.skipped[:10]:
        print(f"left out: {visible(line)}", file=sys.stderr)
    if len(pairs.skipped) > 10:
        print(f"left out: {len(pairs.skipped) - 10} more", file=sys.stderr)
    return pairs


def _load_if_there(data: str, root: Path | None, split: str, **options: Any) -> Any:
    """Read a split as `_load` does, or return None if it is not under root."""
    try:
        return _load(data, root, split, **options)
    except MissingFile:
        return None


def _open_model(run: Path | None) -> tuple[Any, dict[str, Any], str]:
    """The model of a run, or without one the pocket model; what it was trained on; its name."""
    if run is None:
        from mmret_lib.encoders.pocket import pocket_model  # type: ignore[import-untyped,unused-ignore]

        return pocket_model(), {"name": "", "root": ""}, "pocket model"
    from mmret_lib.training.run import load_run

    model, record = load_run(run)
    return model, record.data, Path(run).name


def _open_run(
    run: Path | None,
    data: str | None,
    root: Path | None,
    split: str | None,
    captions: CaptionsFile,
    caption_ids: bool = False,
) -> tuple[Any, Any, str]:
    """The model, the pairs to use it on (by default its own test split), and a title."""
    model, trained, title = _open_model(run)
    name, root, split, options = _where(trained, data, root, split, captions)
    if caption_ids and name != "coco":
        raise DataError(f"judgements are of COCO; {name} has none (the built-in world needs none)")
    pairs = _load(name, root, split, **options, **({"keep_info": True} if caption_ids else {}))
    return model, pairs, f"{title} on {name} {split}"


def _where(
    trained: dict[str, Any],
    data: str | None,
    root: Path | None,
    split: str | None,
    captions: CaptionsFile = NOT_GIVEN,
) -> tuple[str, Path | None, str, dict[str, str]]:
    """What to use a run on: name, root, split, and the other options of `load_pairs`."""
    from mmret_lib.data import usual_splits

    name = data or trained["name"]
    options = captions.options(name, root)
    if name == trained["name"] and "captions" not in options:
        if root is None and trained["root"]:
            root = Path(trained["root"])
        kept = {f.name: trained[f.name] for f in fields(captions) if f.name in trained}
        options = {**kept, **options}
    return name, root, split or usual_splits(name, root, **options)[2], options


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that the user can fix is one line, without a traceback."""
    warnings.showwarning = lambda message, *_: print(
        f"warning: {visible(str(message))}", file=sys.stderr
    )
    try:
        with types:
            app.cli(
                prog="mmret",
                args=arguments,
                description="Build and try an image-text retrieval system.",
            )
    except (DataError, FloatingPointError, OSError) as error:
        if os.environ.get("MMRET_TRACEBACK"):
            raise
        print(f"mmret: {visible(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nmmret: stopped; nothing half-written was kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
