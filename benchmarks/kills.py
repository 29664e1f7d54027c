"""Kill processes at random moments, start them again, and compare every byte they wrote.

    python benchmarks/kills.py                                 60 kills of data, about 5 minutes
    python benchmarks/kills.py --kills 100 --tasks train       100 kills of training, an hour
    python benchmarks/kills.py --kills 30 --tasks index-build index-grow index-save
    python benchmarks/kills.py --kills 20 --tasks photos-build photos-grow photos-shrink

Five tasks, each first run undisturbed: fetching a file, unpacking an archive, packing a store with
two worker processes, loading batches; and training, with a snapshot after every step, so that it is
killed while it saves too. Then each is killed (SIGKILL) at a random moment of its work and started
again. After a kill no file with a final name may be half-written; in the end all bytes (of
training: all weights) must equal those of the undisturbed run; the exit status says whether they
do. index_kills.py describes the tasks of a search index.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from index_kills import CHILDREN, PHOTO_TASKS, kill_index, kill_photos
from index_kills import TASKS as INDEX_TASKS
from PIL import Image

HERE = Path(__file__).parent
DATA_TASKS = ("fetch", "unpack", "pack", "load")
TASKS = (*DATA_TASKS, "train", *INDEX_TASKS, *PHOTO_TASKS)
EPOCHS = 3


# ---------------------------------------------------------------------------- in the child process


def some_pairs(home: Path):
    from mmret_lib.data import Pairs

    images = sorted((home / "photos").iterdir())
    captions = [f"picture {index // 2}" for index in range(2 * len(images))]
    return Pairs(images, captions, np.repeat(np.arange(len(images)), 2), list(range(len(images))))


def fetch(home: Path, target: Path, extra: str) -> None:
    from mmret_lib.files.download import fetch
    from mmret_lib.files.remote import Remote

    url, size, sha256 = extra.split()
    print("begins", flush=True)
    fetch(Remote("file.bin", (url,), int(size), sha256), target, progress=False)


def unpack(home: Path, target: Path, extra: str) -> None:
    from mmret_lib.files.unpack import unpack

    print("begins", flush=True)
    unpack(home / "archive.zip", target, progress=False)


def pack(home: Path, target: Path, extra: str) -> None:
    from mmret_lib.data.store import pack

    pairs = some_pairs(home)
    print("begins", flush=True)
    pack(pairs, 128, target, workers=2, progress=False)


def load(home: Path, target: Path, extra: str) -> None:
    """Print a line for each batch; `extra` is the epoch and the step to start from."""
    from mmret_lib.data.loader import Loader
    from mmret_lib.data.store import Store
    from mmret_lib.encoders import TextEncoder

    store = Store.open(home / "store")
    loader = Loader(store, store.token_ids(TextEncoder()), 16, seed=1)
    first, start = map(int, extra.split())
    print("begins", flush=True)
    for epoch in range(first, EPOCHS):
        for step, batch in enumerate(loader.epoch(epoch, start), start):
            parts = (batch.images, batch.tokens["input_ids"], batch.image_ids, batch.caption_ids)
            digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts))
            print(epoch, step, digest.hexdigest()[:16], flush=True)
            time.sleep(0.005)  # as if it trained
        start = 0


def train(home: Path, target: Path, extra: str) -> None:
    """Train, and print the digest of all weights in the end."""
    import torch

    from mmret_lib.data import load_pairs
    from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model

    torch.set_num_threads(1)
    pairs = load_pairs("scenes", root=home / "world", split="train", size=48, progress=False)
    model = build_model("simclr", pairs, image_weights=None, text_weights=None)
    config = TrainConfig(epochs=3, batch_size=8, device="cpu", validate=False, snapshot_minutes=0)
    trainer = Trainer(model, build_loss("simclr"), pairs, config, folder=target, progress=False)
    print("begins", flush=True)
    trainer.fit(resume=True)
    state = model.state_dict()
    parts = b"".join(state[name].numpy().tobytes() for name in sorted(state))
    print(hashlib.sha256(parts).hexdigest(), flush=True)


# ---------------------------------------------------------------------------- in the parent


def finals(target: Path) -> dict[str, str]:
    """Name -> digest of every file with a final name; of a manifest without its times."""
    found = {}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        working = any(part.startswith(".") for part in path.relative_to(target).parts)
        if path.is_file() and not working and path.suffix not in (".part", ".journal", ".tmp"):
            content = path.read_bytes()
            if name == "manifest.json":
                parts = json.loads(content)
                sums = [parts["images"]["crc32"], parts["captions"]["crc32"]]
                content = json.dumps(sums).encode()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def start(task: str, home: Path, target: Path, extra: str) -> subprocess.Popen:
    command = [sys.executable, __file__, "--task", task, "--home", home, "--target", target]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "MMRET_EXTRA": extra}
    process = subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line != "begins\n":
        continue
    return process


def finish(process: subprocess.Popen) -> list[str]:
    """Wait for a process; return the lines it printed, or raise an error if it failed."""
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        raise SystemExit(f"{process.args} failed")
    return output.splitlines()


def kill_files(
    task: str, home: Path, extra: str, kills: int, random_: random.Random
) -> list[tuple[bool, bool]]:
    """Return for each kill whether all named files were whole after it, and in the end."""
    work = home / task
    started = time.perf_counter()
    process = start(task, home, work / "undisturbed", extra)
    began = time.perf_counter()
    finish(process)
    whole = time.perf_counter() - began
    expected = finals(work / "undisturbed")
    print(f"{task}: {began - started:.1f} s to start, {whole:.1f} s of work, {len(expected)} files")
    outcomes = []
    for _ in range(kills):
        target = work / "killed"
        shutil.rmtree(target, ignore_errors=True)
        process = start(task, home, target, extra)
        time.sleep(random_.uniform(0, whole))
        process.kill()
        process.communicate()
        between = finals(target)
        sound = all(expected.get(name) == digest for name, digest in between.items())
        finish(start(task, home, target, extra))
        outcomes.append((sound, finals(target) == expected))
    return outcomes


def kill_loading(home: Path, kills: int, random_: random.Random) -> list[tuple[bool, bool]]:
    """As `kill_files`; the killed run and the next one together must print all lines."""
    process = start("load", home, home, "0 0")
    began = time.perf_counter()
    expected = finish(process)
    whole = time.perf_counter() - began
    outcomes = []
    for _ in range(kills):
        process = start("load", home, home, "0 0")
        time.sleep(random_.uniform(0, whole))
        process.kill()
        output, _ = process.communicate()
        lines = [line.rstrip("\n") for line in output.splitlines(keepends=True) if "\n" in line]
        steps = 1 + max(int(line.split()[1]) for line in expected)
        done = len(lines)
        lines += finish(start("load", home, home, f"{done // steps} {done % steps}"))
        outcomes.append((True, lines == expected))
    return outcomes


def kill_training(home: Path, kills: int, random_: random.Random) -> list[tuple[bool, bool]]:
    """As `kill_files`; each run resumes the one that was killed, a finished one starts anew."""
    process = start("train", home, home / "undisturbed", "")
    began = time.perf_counter()
    expected = finish(process)
    whole = time.perf_counter() - began
    outcomes: list[tuple[bool, bool]] = []
    target = home / "killed"
    waiting = 0
    while len(outcomes) + waiting < kills:
        process = start("train", home, target, "")
        time.sleep(random_.uniform(0, 0.8 * whole))
        process.kill()
        process.communicate()
        waiting += 1
        if waiting == 5 or len(outcomes) + waiting == kills:
            same = finish(start("train", home, target, "")) == expected
            outcomes += [(True, same)] * waiting
            waiting = 0
            shutil.rmtree(target)
    return outcomes


def prepare(home: Path) -> None:
    rng = np.random.default_rng(0)
    (home / "photos").mkdir()
    for index in range(600):
        values = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(values).save(home / "photos" / f"{index:04d}.png")
    with zipfile.ZipFile(home / "archive.zip", "w") as archive:
        for index in range(1500):
            archive.writestr(f"photos/{index:04d}.jpg", rng.bytes(20_000))
    from mmret_lib.data.store import pack

    pack(some_pairs(home), 64, home / "store", progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=15, help="for each task")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(DATA_TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for kills.md")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        task: Callable = CHILDREN.get(args.task) or globals()[args.task]
        return task(args.home, args.target, os.environ["MMRET_EXTRA"])

    sys.path.insert(0, str(HERE.parent / "tests"))
    from file_server import FileServer, trick

    random_ = random.Random(args.seed)
    lines = ["| task | kills | after each all whole | in the end as undisturbed |"]
    lines.append("|---|---|---|---|")
    failed = 0
    with tempfile.TemporaryDirectory() as folder, FileServer() as server:
        home = Path(folder)
        prepare(home)
        content = np.random.default_rng(1).bytes(4_000_000)
        # A slow server, however often it is asked: a whole file takes it about a second.
        url = server.put("/file.bin", content, *[trick(pause=0.001)] * (2 * args.kills + 1))
        extra = f"{url} {len(content)} {hashlib.sha256(content).hexdigest()}"
        for task in args.tasks:
            if task == "load":
                outcomes = kill_loading(home, args.kills, random_)
            elif task == "train":
                outcomes = kill_training(home, args.kills, random_)
            elif task in INDEX_TASKS:
                outcomes = kill_index(task, home, args.kills, random_, start, finish)
            elif task in PHOTO_TASKS:
                outcomes = kill_photos(task, home, args.kills, random_, start, finish)
            else:
                outcomes = kill_files(task, home, extra, args.kills, random_)
            sound, same = (sum(column) for column in zip(*outcomes, strict=True))
            lines.append(f"| {task} | {len(outcomes)} | {sound} | {same} |")
            failed += 2 * len(outcomes) - sound - same
            print(lines[-1], flush=True)
    text = (
        "# Killed at random moments, and started again\n\n"
        f"`python benchmarks/kills.py --kills {args.kills} --seed {args.seed} "
        f"--tasks {' '.join(args.tasks)}`\n\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if args.out:
        (args.out / f"kills-{'-'.join(args.tasks)}.md").write_text(text, encoding="utf-8")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
