"""Kill a process while it builds, grows or saves a search index; a part of kills.py.

Each kill finds an index of 400 images in the folder; building and saving replace it by one of 600,
growing adds 200. Afterwards the folder must open, hold all of the old or all of the new, and answer
with every image; and when the same is started again, it must answer as an undisturbed run does.
HNSW, IVF and Milvus Lite take turns.

And an index of a folder of photos, killed while `index_photos` builds it, adds photos to it, or
drops vanished and embeds changed ones. After each kill the folder must hold nothing or an index
that opens, with each photo once and its own embedding; the same call then makes it complete.
"""

import random
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TASKS = ("index-build", "index-grow", "index-save")
PHOTO_TASKS = ("photos-build", "photos-grow", "photos-shrink")
BACKENDS = ("milvus", "hnsw", "ivf")
BEFORE, AFTER = 400, 600  # images
QUERY = "picture 7"


def model_and_pairs(home: Path) -> tuple[Any, Any]:
    import torch

    from mmret_lib.data.store import Store
    from mmret_lib.encoders import DualEncoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return DualEncoder.from_names().eval(), Store.open(home / "store").pairs


@contextmanager
def timed() -> Iterator[None]:
    """Print when the work begins, and how long it took without the end of the process."""
    print("begins", flush=True)
    began = time.perf_counter()
    yield
    print(time.perf_counter() - began, flush=True)


def index_build(home: Path, target: Path, backend: str) -> None:
    from mmret_lib.search import SearchIndex

    model, pairs = model_and_pairs(home)
    with timed():
        SearchIndex.build(model, pairs, backend=backend, folder=target, progress=False).close()


def index_grow(home: Path, target: Path, backend: str) -> None:
    from mmret_lib.search import SearchIndex

    model, pairs = model_and_pairs(home)
    index = SearchIndex.open(target, model)
    with timed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the second time, the images may be there already
        index.add(pairs.subset(range(BEFORE, AFTER)), progress=False).close()


def index_save(home: Path, target: Path, backend: str) -> None:
    from mmret_lib.search import SearchIndex

    model, pairs = model_and_pairs(home)
    index = SearchIndex.build(model, pairs, backend=backend, progress=False)
    with timed():
        index.save(target).close()


def photos(home: Path, target: Path, extra: str) -> None:
    """Bring the index up to date in steps of 32 photos, so that many kills fall between two."""
    from mmret_lib.search import photos

    model, _ = model_and_pairs(home)
    photos.CHUNK = 32
    with timed():
        photos.index_photos(model, home / "own", target, progress=False).index.close()


CHILDREN: dict[str, Callable[[Path, Path, str], None]] = {
    "index-build": index_build,
    "index-grow": index_grow,
    "index-save": index_save,
    **dict.fromkeys(PHOTO_TASKS, photos),
}


def answers(home: Path, folder: Path) -> tuple[int, list[str]]:
    """Return the number of images in an index, and all of them in the order of a search."""
    from mmret_lib.search import SearchIndex

    model, _ = model_and_pairs(home)
    with SearchIndex.open(folder, model) as index:
        hits = index.by_text(QUERY, k=10**6)
        captions = index.by_image(index.pairs.images[0], k=10**6)
        whole = len({hit.image_index for hit in hits}) == len(index)
        whole &= len({hit.caption_index for hit in captions}) == 2 * len(index)
        # Ten go through the index; all of them, through the exact search.
        whole &= len(index.by_text(QUERY, k=10)) == len(index.by_image(hits[0].image, k=10)) == 10
        for vectors in index._collection.sides.values():
            held = vectors.index.count() if index.backend == "milvus" else len(vectors.index)
            whole &= held == len(vectors.distinct()[0])
        return len(index) if whole else -1, [hit.image.name for hit in hits]


def kill_index(
    task: str, home: Path, kills: int, random_: random.Random, start: Callable, finish: Callable
) -> list[tuple[bool, bool]]:
    """Return for each kill whether the folder was whole after it, and right in the end."""
    from mmret_lib.search import SearchIndex

    model, pairs = model_and_pairs(home)
    work = home / task
    expected, whole = {}, {}
    for backend in BACKENDS[:kills]:
        before = work / f"before-{backend}"
        old = pairs.subset(range(BEFORE))
        SearchIndex.build(model, old, backend=backend, folder=before, progress=False).close()
        done = shutil.copytree(before, work / f"undisturbed-{backend}")
        whole[backend] = float(finish(start(task, home, done, backend))[-1])
        expected[backend] = answers(home, done)
        assert expected[backend][0] == AFTER, "the undisturbed run"
    print(f"{task}: {', '.join(f'{name} {s:.2f} s' for name, s in whole.items())} of work")
    outcomes = []
    target = work / "killed"
    for number in range(kills):
        backend = BACKENDS[number % len(BACKENDS)]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work / f"before-{backend}", target)
        process = start(task, home, target, backend)
        time.sleep(random_.uniform(0, whole[backend]))
        process.kill()
        process.communicate()
        sound = attempt(lambda: answers(home, target)[0] in (BEFORE, AFTER))
        finish(start(task, home, target, backend))
        same = attempt(lambda name=backend: answers(home, target) == expected[name])
        outcomes.append((sound, same))
        if not sound or not same:
            shutil.copytree(target, work / f"failed-{number}-{backend}")
    return outcomes


def kill_photos(
    task: str, home: Path, kills: int, random_: random.Random, start: Callable, finish: Callable
) -> list[tuple[bool, bool]]:
    """Return for each kill whether the index was whole after it, and complete in the end."""
    work, own = home / task, home / "own"
    photos = sorted((home / "photos").iterdir())

    def put(first: int, end: int, shift: int = 0) -> None:
        """Let the folder hold photos first … end-1; with a shift, other pictures of these names."""
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        for number in range(first, end):
            shutil.copy2(photos[(number + shift) % len(photos)], own / photos[number].name)

    if task != "photos-build":
        put(0, BEFORE if task == "photos-grow" else AFTER)
        finish(start(task, home, work / "before", ""))
    put(*{"photos-shrink": (AFTER - BEFORE, AFTER)}.get(task, (0, AFTER)))
    if task == "photos-shrink":  # and every other one of those that stay has changed
        for number in range(AFTER - BEFORE, AFTER, 2):
            shutil.copy2(photos[number - 1], own / photos[number].name)
    outcomes, whole = [], 0.0
    for number in range(kills + 1):
        target = work / f"killed-{number}"
        if task != "photos-build":
            shutil.copytree(work / "before", target)
        if not number:
            whole = float(finish(start(task, home, target, ""))[-1])
            print(f"{task}: {whole:.2f} s of work")
            continue
        process = start(task, home, target, "")
        time.sleep(random_.uniform(0, whole))
        process.kill()
        process.communicate()
        nothing = task == "photos-build" and not (target / "manifest.json").exists()
        sound = nothing or attempt(lambda path=target: photos_are_right(home, path, False))
        finish(start(task, home, target, ""))
        same = attempt(lambda path=target: photos_are_right(home, path, True))
        outcomes.append((sound, same))
        if sound and same:
            shutil.rmtree(target)
    return outcomes


def photos_are_right(home: Path, folder: Path, complete: bool) -> bool:
    """Whether an index holds each photo once with its own embedding; `complete`: and all of them.

    Before it is complete, photos that have vanished or changed may be as they were.
    """
    import torch

    from mmret_lib.search import SearchIndex
    from mmret_lib.search.photos import unfinished

    model, _ = model_and_pairs(home)
    with SearchIndex.open(folder, model) as index:
        paths, infos = index.pairs.images, index.pairs.image_info or []
        right = len(set(paths)) == len(paths) == len(infos) == len(index.image_emb)
        right &= len(index.by_text(QUERY, k=10**6)) == len(paths)
        now = [
            row
            for row, (path, info) in enumerate(zip(paths, infos, strict=True))
            if path.exists() and path.stat().st_mtime_ns == info["mtime_ns"]
        ]
        fresh = SearchIndex.build(model, index.pairs.subset(now), progress=False)
        right &= torch.allclose(fresh.image_emb, index.image_emb[now], atol=1e-4)
        if complete:
            right &= sorted(paths) == sorted((home / "own").iterdir()) and not unfinished(index)
            right &= len(now) == len(paths)
        return right


def attempt(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception as error:  # an index that cannot be opened is what this looks for
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return False
