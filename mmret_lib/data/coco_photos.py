"""Fetch some of COCO's photos one by one, by their own addresses: a set for an evening.

    get_photos("~/coco", 20_000)                            # all of it; 3.3 GB
    load_pairs("coco", root="~/coco", split="test")         # all 5,000 photos of Karpathy's test

or in pieces, to use photos while the others are still to come:

    chosen = choose_photos("~/coco", 20_000)                # fetches Karpathy's file (37 MB)
    for start in range(0, len(chosen), 1000):
        pairs = fetch_photos(chosen[start : start + 1000], "~/coco")

Only Karpathy's file is needed: it has the captions too. After an interruption or a kill, the same
call fetches what is missing: a photo gets its name when all of it is there and can be decoded.
Which photos are chosen, and how they are divided, says `coco_sample`.
"""

import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm.auto import tqdm

from mmret_lib.data.assembling import Photo, assemble
from mmret_lib.data.coco_sample import NOTE, choose, keep_choice
from mmret_lib.data.images import read_image
from mmret_lib.data.karpathy import COCO_FILE, find_by_id, find_split_file
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import first_few, safe_name
from mmret_lib.data.sources import COCO_HOSTS, SETS, Source, get
from mmret_lib.files.disk import alone, disk_errors, ensure_room
from mmret_lib.files.download import PIECE, TEMPORARY
from mmret_lib.files.errors import DataError, MissingFile, visible
from mmret_lib.files.places import user_path
from mmret_lib.files.web import LONGEST_WAIT, Fault, network, opener, retry_after
from mmret_lib.files.whole import move_into_place

PHOTO_BYTES = 165_000  # the mean of COCO's photos: train2017.zip has 118,287 of them in 19.3 GB
MOST_BYTES = 2**24  # of one photo; COCO's have at most 640 pixels a side
CONNECTIONS = 16


def get_photos(
    root: str | Path,
    count: int,
    *,
    max_missing: float = 0.01,
    progress: bool = True,
    hosts: Sequence[str] = COCO_HOSTS,
    sets: Mapping[str, Source] = SETS,
) -> Pairs:
    """Fetch `count` photos of COCO and their captions; print the terms of use first.

    Args:
        root: the folder of the data set, made if it does not exist. Photos that are in it already,
            in the folders of 2014 or of 2017, are not fetched.
        count: photos of all splits together, see `coco_sample`.
        max_missing: share of them that the servers may lack before that is an error.
        progress: whether to show a bar.
        hosts, sets: where photos and Karpathy's file come from.

    Returns:
        All chosen photos. `load_pairs("coco", root=root, split=…)` reads those of a split.

    Raises:
        MissingFile: if too many photos, or Karpathy's file, cannot be fetched.
        DataError: if the disk has no room or cannot be written to.
    """
    chosen = choose_photos(root, count, progress=progress, sets=sets)
    return fetch_photos(chosen, root, max_missing=max_missing, progress=progress, hosts=hosts)


def choose_photos(
    root: str | Path,
    count: int,
    *,
    progress: bool = True,
    sets: Mapping[str, Source] = SETS,
) -> list[Photo]:
    """Choose photos of COCO to fetch, and keep the choice in `root` for `load_pairs`.

    It prints the terms of use and how the photos are divided, and fetches Karpathy's file if there
    is none in `root` or near it. Arguments and errors are those of `get_photos`.

    Returns:
        The photos, in the order in which to fetch them: every beginning has all three splits.
    """
    root = user_path(root).absolute()
    if not (root.is_dir() and find_split_file(root, COCO_FILE)):
        get("coco", root, ["karpathy"], progress=progress, sets=sets)  # prints the terms
    else:
        print(f"{sets['coco'].terms}.", flush=True)
    chosen = choose(find_split_file(root, COCO_FILE) or root / COCO_FILE, count)
    with disk_errors(root, "keeping the choice of photos"):
        keep_choice(root, chosen)
    of = Counter((photo.image_info or {})["split"] for photo in chosen)
    print(
        f"{len(chosen):,} photos of COCO, by Karpathy's splits: {of['train'] + of['restval']:,} to "
        f"train on (train+restval), {of['val']:,} to validate on (val), {of['test']:,} to test on "
        "(test)",
        flush=True,
    )
    return chosen


def fetch_photos(
    chosen: Sequence[Photo],
    root: str | Path,
    *,
    max_missing: float = 0.01,
    progress: bool = True,
    hosts: Sequence[str] = COCO_HOSTS,
    tries: int = 4,
    pause: float = 1.0,
    patience: float = 20.0,
) -> Pairs:
    """Fetch those of the chosen photos that are not in `root` yet, over 16 connections.

    Args:
        chosen: some of what `choose_photos` returned.
        tries: failures in a row after which the next address is asked.
        pause: seconds before the second try; each further wait is twice as long.
        patience: seconds without a byte after which a connection counts as broken.
        root, max_missing, progress, hosts: as `get_photos` takes them.

    Returns:
        The photos that are there, in the order of `chosen`; `skipped` names the others.

    Raises:
        MissingFile: too many photos could not be fetched, or many one after the other; the message
            gives the reason. What is there stays, and the next call goes on from it.
        DataError: as `get_photos`.
    """
    root = user_path(root).absolute()
    with disk_errors(root, "fetching photos"), alone(root / f"{NOTE}.lock"):
        found, listings, _ = find_by_id(list(chosen), root)
        there = {f"{at}/{name}" if at else name for at, names in listings.items() for name in names}
        missing = [photo for photo in found if photo.file_name not in there]
        for photo in missing:  # what a killed process has left
            part = _part_of(root / safe_name(photo.file_name, photo.record))
            if part.relative_to(root).as_posix() in there:
                part.unlink(missing_ok=True)
        ensure_room(root, len(missing) * PHOTO_BYTES, f"Fetching {len(missing):,} photos")
        _Photos(root, hosts, tries, pause, patience).fetch(missing, len(found), progress)
    try:
        return assemble(
            found, root, root / COCO_FILE, name="coco", split="chosen", max_missing=max_missing
        )
    except MissingFile as error:
        raise MissingFile(
            f"{error} The same call fetches what is missing, and nothing twice."
        ) from None


class _Photos:
    """One call of `fetch_photos`."""

    def __init__(
        self, root: Path, hosts: Sequence[str], tries: int, pause: float, patience: float
    ) -> None:
        self.root, self.hosts = root, hosts
        self.tries, self.pause, self.patience = tries, pause, patience
        self.stop = threading.Event()
        self.answered = False  # whether any server has answered

    def fetch(self, photos: list[Photo], total: int, progress: bool) -> None:
        """Fetch all of `photos`; say which could not be fetched, and why."""
        failed: list[str] = []
        in_a_row = size = 0
        for folder in sorted({Path(str(photo.file_name)).parent for photo in photos}):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="fetch")
        bar = tqdm(
            desc="photos",
            total=total,
            initial=total - len(photos),
            unit="photo",
            disable=not progress or not photos,
        )
        try:
            with bar:
                waiting: dict[Future[int], Photo] = {pool.submit(self.one, p): p for p in photos}
                for future in as_completed(waiting):
                    name = waiting.pop(future).file_name
                    try:
                        size += future.result()
                        in_a_row = 0
                    except Fault as fault:
                        failed.append(f"{name}: {fault}")
                        in_a_row += 1
                    if in_a_row >= 2 * CONNECTIONS:
                        raise MissingFile(
                            f"{in_a_row} photos in a row could not be fetched, the last: "
                            f"{failed[-1]}. Look at the network and try again: the photos that "
                            f"are in {self.root} stay, and only the others are fetched."
                        )
                    bar.update()
                    bar.set_postfix_str(f"{size / 1e6:,.0f} MB", refresh=False)
        finally:  # Ctrl-C too: no thread starts another photo
            self.stop.set()
            pool.shutdown(cancel_futures=True)
        if failed:
            print(f"{len(failed):,} photos could not be fetched: {first_few(failed)}", flush=True)

    def one(self, photo: Photo) -> int:
        """Fetch one photo and return its size; raise Fault where no address has it."""
        target = self.root / str(photo.file_name)
        faults = []
        for url in self.addresses(photo):
            try:
                return self.from_address(url, target)
            except Fault as fault:
                faults.append(f"{url}: {fault}")
        raise Fault("; ".join(faults))

    def addresses(self, photo: Photo) -> list[str]:
        """Where a photo is, under its name of 2014, and for want of it under that of 2017."""
        name = urllib.parse.quote(str(photo.file_name))
        urls = [f"{host}/{name}" for host in self.hosts]
        if isinstance(photo.image_id, int):
            folders = ("train2017", "val2017")
            urls += [f"{self.hosts[0]}/{at}/{photo.image_id:012d}.jpg" for at in folders]
        return urls

    def from_address(self, url: str, target: Path) -> int:
        failed = 0
        while True:
            try:
                content = self.download(url)
                break
            except Fault as fault:
                failed += 1
                # Where no server has answered, there is probably no network: say so soon.
                if not fault.again or failed >= (self.tries if self.answered else 2):
                    raise
                self.stop.wait(min(max(self.pause * 2 ** (failed - 1), fault.wait), LONGEST_WAIT))
        part = _part_of(target)
        try:
            part.write_bytes(content)
            try:
                read_image(part)
            except DataError as error:
                raise Fault(f"it sends no whole photo ({error.__cause__ or 'no image'})") from None
            move_into_place(part, target)
        finally:
            part.unlink(missing_ok=True)
        return len(content)

    def download(self, url: str) -> bytes:
        """Return the body of an answer, all of it."""
        content = bytearray()
        try:
            with network(self.patience):
                request = urllib.request.Request(url, headers={"User-Agent": "mmret"})
                response = opener().open(request, timeout=self.patience)
                self.answered = True
                with response:
                    length = response.length
                    while piece := response.read1(PIECE):
                        content += piece
                        if self.stop.is_set() or len(content) > MOST_BYTES:
                            break
        except urllib.error.HTTPError as error:
            self.answered = True
            with error:
                wait = retry_after(error.headers.get("Retry-After", ""))
                reason = visible(str(error.reason).partition("\n")[0])
                raise Fault(
                    f"it answered {error.code} ({reason})",
                    again=error.code in TEMPORARY,
                    wait=wait,
                ) from None
        if self.stop.is_set():
            raise Fault("interrupted")
        if len(content) > MOST_BYTES:
            raise Fault(f"it sends more than {MOST_BYTES:,} bytes")
        if length is not None and len(content) < length:
            raise Fault(
                f"the connection ended after {len(content):,} of {length:,} bytes", again=True
            )
        return bytes(content)


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
