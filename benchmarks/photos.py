"""Measure `mmret index --photos` on 2,000 photos, and the first search after it.

    python benchmarks/photos.py                        all of ../shared/real, about two minutes
    python benchmarks/photos.py --count 200 --out ""   a trial, which writes nothing

The folder is made of links to photos of COCO and Flickr8k, thumbnails and full size, the first
2,000 by name of each set in turn; then 100 photos are added and 100 taken away. Each call is a
process of its own, timed from its start to its end: Python's and torch's start, the model's
opening and the listing count. Peak memory is the process's largest resident set. Beside it: how
fast the same model embeds photos that are decoded already, and how fast they are decoded alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REAL = Path(os.environ.get("MMRET_REAL_DATA", HERE.parents[1] / "shared" / "real"))
FOLDERS = ("coco_thumbs/images", "coco/train2017", "flickr8k/Images")
QUERIES = ("red bus", "a dog on the beach")


def mmret(*arguments: object) -> tuple[str, float, float]:
    """Run the command; return what it printed, its seconds, and its peak memory in MiB."""
    command = [sys.executable, "-m", "mmret_lib.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "TQDM_DISABLE": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return said, seconds, usage.ru_maxrss / 1024


def alone(folder: Path, run: Path | None, count: int) -> dict[str, float]:
    """Photos a second of the decoding alone, and of the model alone, in this process."""
    import numpy as np

    from mmret_lib.cli.opening import open_model
    from mmret_lib.data.decoding import decoded
    from mmret_lib.data.photos import list_photos

    model = open_model(run)[0]
    photos = list(list_photos(folder).photos)[:count]
    started = time.perf_counter()
    pixels = np.concatenate([batch.pixels for batch in decoded(photos, model.image.image_size)])
    decoding = len(photos) / (time.perf_counter() - started)
    model.encode_images(pixels[:64])  # warm
    started = time.perf_counter()
    model.encode_images(pixels, batch_size=64)
    return {"decoding": decoding, "model": len(photos) / (time.perf_counter() - started)}


def measure(count: int, run: Path | None) -> dict[str, Any]:
    sources = [path for name in FOLDERS for path in sorted((REAL / name).glob("*.jpg"))]
    if not sources:
        raise SystemExit(f"there are no photos in {REAL}; set MMRET_REAL_DATA to their folder")
    # Every n-th, so that each set takes part in proportion.
    spare = 100
    step = len(sources) / (count + spare)
    sources = [sources[int(k * step)] for k in range(count + spare)]
    model = [run] if run else []
    with tempfile.TemporaryDirectory() as home:
        folder, index = Path(home) / "album", Path(home) / "album.idx"
        folder.mkdir()

        def link(numbers: range) -> None:
            for number in numbers:
                (folder / f"{number:05d}.jpg").symlink_to(sources[number])

        link(range(count))
        _, seconds, memory = mmret("index", *model, index, "--photos", folder)
        rows = {"build": {"photos": count, "s": seconds, "mib": memory}}
        _, seconds, memory = mmret("index", *model, index, "--photos", folder)
        rows["nothing new"] = {"photos": 0, "s": seconds, "mib": memory}
        link(range(count, count + spare))
        for number in range(spare):
            (folder / f"{number:05d}.jpg").unlink()
        _, seconds, memory = mmret("index", *model, index, "--photos", folder)
        rows["100 new, 100 gone"] = {"photos": spare, "s": seconds, "mib": memory}
        answers = []
        for query in QUERIES:
            said, seconds, memory = mmret("search", *model, query, "--index", index, "--k", 1)
            answers.append({"query": query, "s": seconds, "mib": memory, "said": said})
        rates = alone(folder, run, min(count, 1000))
        disk = sum(path.stat().st_size for path in index.iterdir()) / 2**20
    return {"rows": rows, "answers": answers, "alone": rates, "index_mib": disk}


def page(found: dict[str, Any], command: str, machine: str) -> str:
    build = found["rows"]["build"]
    lines = [
        "# A folder of photos: indexed, brought up to date, searched",
        "",
        f"`{command}` on {machine}",
        "",
        "| call of mmret index --photos | photos embedded | seconds | photos a second | peak MiB |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["rows"].items():
        rate = f"{row['photos'] / row['s']:.0f}" if row["photos"] else "–"
        lines.append(f"| {name} | {row['photos']:,} | {row['s']:.1f} | {rate} | {row['mib']:.0f} |")
    first = found["answers"][0]
    alone = found["alone"]
    return "\n".join(
        [
            *lines,
            "",
            f"Decoding alone: {alone['decoding']:.0f} photos a second; the model alone: "
            f"{alone['model']:.0f}. Of the two together the build reaches "
            f"{build['photos'] / build['s']:.0f} a second, its start included. "
            f"The index takes {found['index_mib']:.1f} MiB on disk.",
            "",
            f'First answer of `mmret search "{first["query"]}" --index …`: {first["s"]:.1f} s '
            f"from the start of the process, {first['mib']:.0f} MiB; the next query "
            f"{found['answers'][1]['s']:.1f} s.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--run", type=Path, help="a run in the place of the pocket model")
    parser.add_argument("--out", default=str(HERE / "results"), help='"" writes nothing')
    args = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from loader import machine

    found = measure(args.count, args.run)
    text = page(found, " ".join(["python", "benchmarks/photos.py", *sys.argv[1:]]), machine())
    print(text)
    if args.out:
        Path(args.out).mkdir(parents=True, exist_ok=True)
        Path(args.out, "photos.md").write_text(text, encoding="utf-8")
        Path(args.out, "photos.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
