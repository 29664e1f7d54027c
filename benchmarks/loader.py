"""Compare the packed store with other ways to load image batches, in one run.

    python benchmarks/loader.py                          the table; about 4 minutes
    python benchmarks/loader.py --many 1000 10000 118000 also stores of these sizes; 18 GB of disk
    python benchmarks/loader.py --sizes-only --many …    only those; keeps the recorded table

Every pipeline reads the same photos with five captions each and hands out the same thing: uint8
(256, 3, 224, 224) and the word pieces of one random caption per photo. The peers get no float
conversion, no normalisation and no random crop to do, so that only reading is compared. The last
row only copies the same bytes from memory to memory.

Needs the photos (`--root`, or MMRET_REAL_DATA) and the extra `bench`.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the peers' worker processes are forked

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.loader import Loader
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders import TextEncoder
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model, made_by

SIDE, BATCH = 224, 256
HERE = Path(__file__).parent
REAL = Path(os.environ.get("MMRET_REAL_DATA", HERE.parents[1] / "shared" / "real"))
OURS, COPY, PLAIN = "mmret store + Loader", "copying the same bytes", "torchvision, 2 workers"


def photos(root: Path, folder: Path) -> Pairs:
    """Link all photos with five captions into one folder in COCO's format."""
    parts = [
        load_pairs("coco", root=root / "coco", split="train2017"),
        load_pairs("flickr8k", root=root / "flickr8k", split="all"),
    ]
    (folder / "photos").mkdir()
    (folder / "annotations").mkdir()
    images: list[dict] = []
    annotations: list[dict] = []
    for pairs in parts:
        for index, path in enumerate(pairs.images):
            link = folder / "photos" / f"{len(images):06d}.jpg"
            link.symlink_to(path.resolve())
            images.append({"id": len(images), "file_name": link.name})
            for caption in pairs.captions_of(index)[:5]:
                annotation = {"image_id": images[-1]["id"], "caption": caption}
                annotations.append({"id": len(annotations), **annotation})
    text = json.dumps({"images": images, "annotations": annotations})
    (folder / "annotations" / "captions_photos.json").write_text(text)
    return load_pairs("coco", root=folder, split="photos")


# ---------------------------------------------------------------------------- the pipelines


class Collate:
    """Stack the images, choose a caption each, tokenise: what a collate_fn usually does."""

    def __init__(self, encoder: TextEncoder):
        self.encoder = encoder

    def __call__(self, batch: list) -> tuple:
        images, captions = zip(*batch, strict=True)
        chosen = [random.choice(five[:5]) for five in captions]
        return torch.stack(images), self.encoder.tokenize(chosen)


def many_epochs(data: Any) -> torch.utils.data.Sampler:
    """Repeat shuffled epochs without a pause, so that workers need not start again."""
    return torch.utils.data.RandomSampler(data, num_samples=1000 * len(data))


def resize_and_crop() -> Callable[[Any], torch.Tensor]:
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(SIDE), v2.CenterCrop(SIDE), v2.PILToTensor()])


def torchvision_captions(folder: Path, encoder: TextEncoder, workers: int) -> Iterable:
    from torchvision.datasets import CocoCaptions

    data = CocoCaptions(
        folder / "photos", str(folder / "annotations" / "captions_photos.json"), resize_and_crop()
    )
    return torch.utils.data.DataLoader(
        data, BATCH, sampler=many_epochs(data), num_workers=workers, collate_fn=Collate(encoder)
    )


def datasets_jpeg(pairs: Pairs, encoder: TextEncoder, workers: int) -> Iterable:
    """Load by Hugging Face datasets as in its guide: an Image column, decoded by a transform."""
    import datasets

    transform = resize_and_crop()
    columns = {
        "image": [str(path) for path in pairs.images],
        "captions": [pairs.captions_of(index) for index in range(len(pairs))],
    }
    data = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())

    def decoded(rows: dict) -> dict:
        return {**rows, "image": [transform(image.convert("RGB")) for image in rows["image"]]}

    collate = Collate(encoder)
    return torch.utils.data.DataLoader(
        data.with_transform(decoded),
        BATCH,
        sampler=many_epochs(data),
        num_workers=workers,
        collate_fn=lambda rows: collate([(row["image"], row["captions"]) for row in rows]),
    )


def datasets_pixels(pairs: Pairs, store: Store, encoder: TextEncoder, folder: Path) -> Iterable:
    """Load by the same library at its fastest: pixels decoded once, in a memory-mapped table."""
    import datasets

    def rows() -> Iterator[dict]:
        for index in range(len(pairs)):
            yield {"image": store[index], "captions": pairs.captions_of(index)[:5]}

    shape = datasets.Array3D((3, SIDE, SIDE), "uint8")
    features = datasets.Features(
        {"image": shape, "captions": datasets.List(datasets.Value("string"))}
    )
    data = datasets.Dataset.from_generator(
        rows, features=features, cache_dir=str(folder / "datasets"), writer_batch_size=200
    ).with_format("numpy", columns=["image"], output_all_columns=True)

    class Batches:
        def __iter__(self) -> Iterator:
            order = torch.randperm(len(data))
            for start in range(0, len(data) - BATCH + 1, BATCH):
                part = data[order[start : start + BATCH].tolist()]
                captions = [random.choice(list(five)) for five in part["captions"]]
                yield torch.from_numpy(np.asarray(part["image"])), encoder.tokenize(captions)

    return Batches()


def webdataset_shards(pairs: Pairs, store: Store, folder: Path, kind: str) -> str:
    """Write shards of 256 photos, as JPEG files ("jpg") or as decoded pixels ("npy")."""
    import webdataset

    (folder / kind).mkdir()
    pattern = str(folder / kind / "shard-%04d.tar")
    with webdataset.ShardWriter(pattern, maxcount=256, verbose=0) as sink:
        for index, path in enumerate(pairs.images):
            image = path.read_bytes() if kind == "jpg" else store[index]
            captions = pairs.captions_of(index)[:5]
            sink.write({"__key__": f"{index:06d}", kind: image, "json": captions})
    last = len(list((folder / kind).glob("*.tar"))) - 1
    return str(folder / kind / f"shard-{{0000..{last:04d}}}.tar")


def webdataset_loader(urls: str, encoder: TextEncoder, kind: str, workers: int) -> Iterable:
    import webdataset

    transform = resize_and_crop() if kind == "jpg" else torch.from_numpy
    data = webdataset.WebDataset(urls, shardshuffle=100, empty_check=False).shuffle(300)
    data = data.decode("pilrgb") if kind == "jpg" else data.decode()
    data = data.to_tuple(kind, "json").map_tuple(transform)
    data = data.repeat(1000).batched(BATCH, collation_fn=Collate(encoder), partial=False)
    return webdataset.WebLoader(data, batch_size=None, num_workers=workers)


class Ours:
    """Yields epoch after epoch of the library's own loader."""

    def __init__(self, store: Store, encoder: TextEncoder):
        self.loader, self.number = Loader(store, store.token_ids(encoder), BATCH), 0

    def __iter__(self) -> Iterator:
        self.number += 1
        return iter(self.loader.epoch(self.number))


class Copies:
    """Copies the bytes of a batch from memory to memory, 16 batches an epoch."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.source = rng.integers(0, 256, (1024, 3, SIDE, SIDE), dtype=np.uint8)
        self.target = np.ones((BATCH, 3, SIDE, SIDE), np.uint8)

    def __iter__(self) -> Iterator:
        for step in range(16):
            start = step * BATCH % 1024
            np.copyto(self.target, self.source[start : start + BATCH])
            yield self.target, None


# ---------------------------------------------------------------------------- measuring


def images_per_second(batches: Iterable, seconds: float) -> float:
    """Measure epochs back to back for at least `seconds`, from the first batch on."""
    iterator, count = iter(batches), 0
    next(iterator)
    started = time.perf_counter()
    while True:
        for batch in iterator:
            images = batch.images if hasattr(batch, "images") else batch[0]
            assert images.shape == (BATCH, 3, SIDE, SIDE) and images[0, 0, 0, 0] >= 0
            count += len(images)
            if (spent := time.perf_counter() - started) >= seconds and count >= 2 * BATCH:
                return count / spent
        iterator = iter(batches)


def compare(pairs: Pairs, folder: Path, seconds: float, repeats: int) -> pd.DataFrame:
    encoder = TextEncoder()
    store = pack(pairs, SIDE, folder / "store")
    jpegs = webdataset_shards(pairs, store, folder, "jpg")
    pixels = webdataset_shards(pairs, store, folder, "npy")
    makers: dict[str, Callable[[], Iterable]] = {
        "torchvision, 0 workers": lambda: torchvision_captions(folder, encoder, 0),
        PLAIN: lambda: torchvision_captions(folder, encoder, 2),
        "datasets, JPEG, 2 workers": lambda: datasets_jpeg(pairs, encoder, 2),
        "datasets, pixels": lambda: datasets_pixels(pairs, store, encoder, folder),
        "webdataset, JPEG, 2 workers": lambda: webdataset_loader(jpegs, encoder, "jpg", 2),
        "webdataset, pixels": lambda: webdataset_loader(pixels, encoder, "npy", 0),
        "webdataset, pixels, 2 workers": lambda: webdataset_loader(pixels, encoder, "npy", 2),
        OURS: lambda: Ours(store, encoder),
        COPY: Copies,
    }
    rates: dict[str, list[float]] = {name: [] for name in makers}
    for repeat in range(repeats):
        for name, make in makers.items():
            rates[name].append(images_per_second(make(), seconds))
            print(f"[{repeat + 1}/{repeats}] {name}: {rates[name][-1]:,.0f} images/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    peers = [name for name in makers if name not in (OURS, COPY)]
    return pd.DataFrame(
        {
            "pipeline": list(makers),
            "images_per_second": [round(value) for value in medians.values()],
            "slowest": [round(min(values)) for values in rates.values()],
            "fastest": [round(max(values)) for values in rates.values()],
            "times_plain": [round(value / medians[PLAIN], 2) for value in medians.values()],
            "share_of_copying": [round(value / medians[COPY], 3) for value in medians.values()],
            "best_peer": [name == max(peers, key=medians.__getitem__) for name in makers],
        }
    )


def cpu_seconds() -> float:
    mine, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def sizes(pairs: Pairs, folder: Path, counts: list[int], seconds: float) -> pd.DataFrame:
    """Measure building and reading of stores of several sizes, made of repeated photos."""
    rows = []
    for count in counts:
        many = pairs.subset(np.arange(count) % len(pairs))
        many = replace(many, image_ids=list(range(count)))
        target = folder / f"many-{count}"
        before, started = cpu_seconds(), time.perf_counter()
        pack(many, SIDE, target)
        wall = time.perf_counter() - started
        cores = os.cpu_count() or 1
        busy = (cpu_seconds() - before) / wall / cores
        encoder = TextEncoder()
        Store.open(target).token_ids(encoder)
        (folder / "vocabulary").write_text(encoder.vocabulary(), encoding="utf-8")
        command = [sys.executable, HERE / "read_store.py", target, folder / "vocabulary", seconds]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        answer = subprocess.check_output(list(map(str, command)), env=environment)
        size = sum(path.stat().st_size for path in target.iterdir())
        rows.append(
            {
                "images": count,
                "gigabytes": round(size / 1e9, 2),
                "build_seconds": round(wall, 1),
                "build_images_per_second": round(count / wall),
                "cores_busy": round(busy, 3),
                **json.loads(answer),
            }
        )
        print(rows[-1], flush=True)
        shutil.rmtree(target)
    return pd.DataFrame(rows)


def waiting_share() -> dict[str, float]:
    """Measure which share of an epoch of SimCLR on the built-in world waits for data."""
    pairs = load_pairs("scenes", split="train")
    config = TrainConfig(epochs=1, validate=False)
    history = Trainer(build_model("simclr", pairs), build_loss("simclr"), pairs, config).fit()
    return {
        "training_seconds": round(history.training_seconds, 1),
        "waiting_seconds": round(history.waiting_seconds, 3),
        "share": round(history.waiting_seconds / history.training_seconds, 4),
    }


# ---------------------------------------------------------------------------- reporting


def draw(table: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = [{OURS: "#0072b2", COPY: "#d8dcdf"}.get(name, "#8a939b") for name in table.pipeline]
    bars = axes.barh(table.pipeline, table.images_per_second, color=colours)
    axes.bar_label(bars, [f"{rate:,}" for rate in table.images_per_second], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(right=table.images_per_second.max() * 3)
    axes.invert_yaxis()
    axes.set_xlabel("images a second, 224 x 224 pixels, batches of 256 (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def machine() -> str:
    cpu = "an unnamed processor"
    if Path("/proc/cpuinfo").exists():
        names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, {json.dumps(made_by())}"


def text(record: dict) -> str:
    table, big = pd.DataFrame(record["table"]), pd.DataFrame(record.get("sizes", []))
    rate = dict(zip(table.pipeline, table.images_per_second, strict=True))
    best = table[table.best_peer].iloc[0]
    lines = [
        "# Loading data",
        "",
        f"`{record['command']}`, on {record['machine']}.",
        f"{record['photos']:,} real photos with five captions each, 224 x 224 pixels, batches of "
        f"256; median of {record['repeats']} rounds of {record['seconds']:g} s each.",
        "",
        "| pipeline | images/s | slowest … fastest | × torchvision, 2 workers | of copying |",
        "|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.pipeline} | {row.images_per_second:,} | {row.slowest:,} … {row.fastest:,} | "
            f"{row.times_plain:.1f} | {row.share_of_copying:.0%} |"
        )
    lines += [
        "",
        f"- ours over {PLAIN}: {rate[OURS] / rate[PLAIN]:.1f}",
        f"- ours over the best peer ({best.pipeline}): {rate[OURS] / best.images_per_second:.1f}",
        f"- ours over copying the same bytes: {rate[OURS] / rate[COPY]:.2f}",
    ]
    if waiting := record.get("waiting"):
        lines.append(
            f"- waiting for data, of one epoch of SimCLR on the built-in world: "
            f"{waiting['share']:.2%} ({waiting['waiting_seconds']} of "
            f"{waiting['training_seconds']} s)"
        )
    if len(big):
        lines += [
            "",
            f"Stores of other sizes (`{record['sizes_command']}`): the same photos repeated, built "
            "anew and read by a fresh "
            "process; private memory is what no file stands behind (RssAnon), in brackets that of "
            "the imported libraries alone.",
            "",
            "| images | GB | built in | images/s | cores busy | first pass, images/s | "
            "then, images/s | private MiB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in big.itertuples():
            lines.append(
                f"| {row.images:,} | {row.gigabytes} | {row.build_seconds:,} s | "
                f"{row.build_images_per_second:,} | {row.cores_busy:.0%} | "
                f"{row.first_pass_images_per_second:,} | {row.images_per_second:,} | "
                f"{row.private_mebibytes} ({row.libraries_mebibytes}) |"
            )
    return "\n".join(lines) + "\n\n![images a second](loader.png)\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=REAL, help="folder of the real photos")
    parser.add_argument("--seconds", type=float, default=8, help="per pipeline and round")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--many", type=int, nargs="*", default=[], help="sizes of further stores")
    parser.add_argument("--sizes-only", action="store_true", help="keep the recorded table")
    parser.add_argument("--scratch", type=Path, help="where to put 1 GB (with --many, more)")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if not args.root.is_dir():
        raise SystemExit(f"no photos at {args.root}: name their folder with --root")
    many = ["--many", *map(str, args.many)] if args.many else []
    command = " ".join(["python benchmarks/loader.py", *many])
    recorded = args.out / "loader.json"
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        pairs = photos(args.root, Path(folder))
        if args.sizes_only:
            record = json.loads(recorded.read_text())
            command = command.replace("loader.py", "loader.py --sizes-only")
        else:
            record = {
                "command": command,
                "machine": machine(),
                "photos": len(pairs),
                "seconds": args.seconds,
                "repeats": args.repeats,
            }
            table = compare(pairs, Path(folder), args.seconds, args.repeats)
            record["table"] = table.to_dict("list")
            record["waiting"] = waiting_share()
        if args.many:
            record["sizes_command"] = command
            record["sizes"] = sizes(pairs, Path(folder), args.many, args.seconds).to_dict("list")
    args.out.mkdir(parents=True, exist_ok=True)
    recorded.write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "loader.md").write_text(text(record), encoding="utf-8")
    draw(pd.DataFrame(record["table"]), args.out / "loader.png")
    print(text(record))


if __name__ == "__main__":
    main()
