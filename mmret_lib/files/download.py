"""Fetch large files over networks that break, so that a final name is only ever on a whole file.

A file grows as `.NAME.part` beside its final name. What interrupts it (a lost connection, Ctrl-C, a
killed process) costs nothing: the next call asks for the rest. Only when size and checksum are
right does it take its name, in one step.
"""

import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mmret_lib.files.disk import alone, disk_errors, ensure_room
from mmret_lib.files.errors import DataError, MissingFile, visible
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_note, write_json
from mmret_lib.files.remote import Remote, WrongBytes, remember, verify
from mmret_lib.files.web import LONGEST_WAIT, Fault, network, opener, retry_after, validator_of
from mmret_lib.files.whole import move_into_place

PIECE = 2**16  # bytes read from the network at a time
PROGRESS = 2**20  # a try that got this many bytes further does not count as a failed one
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another try may not meet


def fetch(
    remote: Remote,
    folder: str | Path,
    *,
    progress: bool = True,
    tries: int = 6,
    pause: float = 1.0,
    patience: float = 30.0,
) -> Path:
    """The file `remote` in `folder`: as it lies there if it is the right one, else fetched.

    A part that an earlier call left is continued: from any server if a checksum is known, else only
    from the one it came from and only while the file there is the same. Another process that
    fetches the same file is waited for.

    Args:
        folder: made if it does not exist.
        progress: whether to show a progress bar.
        tries: how often in a row one server may fail before the next one is asked.
        pause: seconds before the second try; each further one waits twice as long, up to
            LONGEST_WAIT.
        patience: seconds without a single byte after which a connection counts as broken.

    Returns:
        The path of the file, size and checksum verified.

    Raises:
        MissingFile: if no server gave it; says what was wrong with each, and what to do.
        DataError: if the disk has no room for it, or cannot be written to.
    """
    if not re.fullmatch(r"\w[\w.+-]*", remote.name) or not remote.urls:
        raise DataError(f"{remote.name!r} is no plain file name, or has no address to fetch from")
    folder = user_path(folder)
    with disk_errors(folder, f"fetching {remote.name}"):
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / f".{remote.name}.lock"):
            return _Fetch(remote, folder, progress, tries, pause, patience).run()


@dataclass
class _Fetch:
    """One call of `fetch`: the part on the disk, the bar, and what the servers are like."""

    remote: Remote
    folder: Path
    progress: bool
    tries: int
    pause: float
    patience: float

    def __post_init__(self) -> None:
        name = self.remote.name
        self.target = self.folder / name
        self.part = self.folder / f".{name}.part"
        self.origin = self.folder / f".{name}.part.json"  # which server's which file the part is
        self.bar: Any = None
        self.answered = False  # whether any server has sent anything
        self.cannot_continue: set[str] = set()  # servers that send another range than was asked

    def run(self) -> Path:
        faults: list[str] = []
        if self.target.exists():
            try:
                verify(self.remote, self.target, progress=self.progress)
                self.discard_part()
                return self.target
            except DataError as error:
                faults.append(f"The file that lies there is not the right one: {error}")
        if self.remote.size is not None:
            ensure_room(self.folder, self.remote.size - self.have(), f"Fetching {self.remote.name}")
        with tqdm(
            desc=self.remote.name,
            total=self.remote.size,
            initial=self.have(),
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=not self.progress,
        ) as self.bar:
            for url in self.remote.urls:
                try:
                    self.from_server(url)
                    return self.target
                except Fault as fault:
                    faults.append(f"{url}: {fault}")
        size, checksum = self.remote.size, self.remote.checksum
        kept = self.have() if any(self.wish(url) for url in self.remote.urls) else 0
        known = [f"{size:,} bytes"] if size is not None else []
        known += [" ".join(checksum)] if checksum else []
        raise MissingFile(
            f"{self.remote.name} could not be fetched. {'. '.join(faults)}. Try again"
            + (f" ({kept:,} bytes are kept and will be continued)" if kept else "")
            + f", or put the file at {self.target} by hand"
            + (f" ({', '.join(known)})." if known else ".")
        )

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def discard_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def from_server(self, url: str) -> None:
        """Ask one server until the file is whole and has its name; a Fault when it is given up."""
        size = self.remote.size
        failed, furthest, wrong_bytes = 0, self.have(), False
        while True:
            if size is not None and self.have() > size:
                self.discard_part()
            try:
                if size is None or self.have() != size:
                    self.ask(url)
                self.finish()
                return
            except WrongBytes as error:  # by now the part is deleted
                if wrong_bytes:
                    raise Fault(f"twice the wrong bytes ({error})") from None
                wrong_bytes, furthest = True, 0
            except Fault as fault:
                if not fault.again:
                    raise
                failed = 1 if self.have() >= furthest + PROGRESS else failed + 1
                furthest = max(furthest, self.have())
                # No address for the name, no connection at all: without a network, say so soon.
                if failed >= (self.tries if self.answered else min(self.tries, 2)):
                    raise Fault(f"{fault} ({failed} tries in a row)") from None
                time.sleep(min(max(self.pause * 2 ** (failed - 1), fault.wait), LONGEST_WAIT))

    def finish(self) -> None:
        """Check the part and give it its name; if it is not the right file it is deleted."""
        try:
            verify(self.remote, self.part, progress=self.progress)
        except WrongBytes:
            self.discard_part()
            raise
        move_into_place(self.part, self.target)
        self.origin.unlink(missing_ok=True)
        remember(self.remote, self.target)

    def ask(self, url: str) -> None:
        """One request for what is missing; what comes is appended to the part.

        Returns when the part has come to its end, whether or not that is the right one.
        """
        wish = self.wish(url)
        start = self.have() if wish else 0
        headers = {"User-Agent": "mmret", "Accept-Encoding": "identity", **wish}
        try:
            with network(self.patience):
                request = urllib.request.Request(url, headers=headers)
                response = opener().open(request, timeout=self.patience)
        except urllib.error.HTTPError as error:
            self.answered = True
            with error:
                return self.refused(error, start)
        self.answered = True
        with response:
            total = self.checked_head(url, response, start)
            self.receive(url, response, start if response.status == 206 else 0, total)

    def wish(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest of the file; none where all of it must come anew."""
        have, origin = self.have(), read_note(self.origin)
        validator = origin.get("validator") if origin.get("url") == url else None
        if not have or url in self.cannot_continue:
            return {}
        if validator:  # a file that has changed then comes whole, from its beginning
            return {"Range": f"bytes={have}-", "If-Range": validator}
        return {"Range": f"bytes={have}-"} if self.remote.checksum else {}

    def checked_head(self, url: str, response: Any, start: int) -> int | None:
        """The whole file's size as the server gives it, if what it is about to send will do."""
        head, size = response.headers, self.remote.size
        if response.status == 206:
            given = head.get("Content-Range", "")
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", given.strip())
            if not start or found is None or int(found[1]) != start:
                self.cannot_continue.add(url)
                raise Fault(
                    f"asked to go on at byte {start:,} it sends {visible(given) or 'no range'}",
                    again=True,
                )
            total = None if found[2] == "*" else int(found[2])
            if not self.remote.checksum and total != read_note(self.origin).get("total"):
                self.discard_part()
                raise Fault("the file has changed while it was being fetched", again=True)
        elif response.status == 200:
            total = response.length
        else:
            raise Fault(f"it answered {response.status}, not the file")
        right_size = size is not None and total == size
        encoding = head.get("Content-Encoding", "identity").lower()
        if head.get_content_type() == "text/html" and not right_size:
            raise Fault("it sends a web page in place of the file (a login or an error page?)")
        if size is not None and total is not None and not right_size:
            raise Fault(f"it offers {total:,} bytes where {size:,} are expected")
        # Servers also name the encoding of a .gz as it lies on their disk; the checksum decides.
        if encoding != "identity" and not (right_size or self.remote.name.endswith("gz")):
            raise Fault(f"it sends the file encoded ({visible(encoding)}), though asked not to")
        if total is None and not (self.remote.checksum or size or response.chunked):
            raise Fault("it does not say how long the file is, so a half could pass for the whole")
        return total

    def receive(self, url: str, response: Any, position: int, total: int | None) -> None:
        """Append the body to the part, which is cut to `position` before."""
        end = self.remote.size if self.remote.size is not None else total
        length, got = response.length, 0
        if end is not None:
            ensure_room(self.folder, end - self.have(), f"Fetching {self.remote.name}")
        if position == 0:
            self.part.write_bytes(b"")  # first: an old part must never meet a new validator
            facts = {"url": url, "validator": validator_of(response.headers), "total": total}
            write_json(self.origin, facts)
        elif read_note(self.origin).get("url") != url:
            self.origin.unlink(missing_ok=True)  # of two servers: no one's validator holds
        self.bar.total = end
        if self.bar.n != position:
            self.bar.reset(end)
            self.bar.initial = self.bar.n = self.bar.last_print_n = position
        with self.part.open("ab", buffering=0) as file:
            while length is None or got < length:
                with network(self.patience):
                    piece = response.read1(PIECE)
                if not piece:
                    break
                got += len(piece)
                position += len(piece)
                if end is not None and position > end:
                    self.discard_part()
                    raise Fault(f"it sends more than the {end:,} bytes expected")
                if end is None:  # nobody knows when this ends, but not with a full disk
                    ensure_room(self.folder, len(piece), f"Fetching {self.remote.name}")
                file.write(piece)
                self.bar.update(len(piece))
        if (end is not None and position < end) or (length is not None and got < length):
            of = f" of {end:,}" if end is not None else ""
            raise Fault(f"the connection ended after {position:,}{of} bytes", again=True)

    def refused(self, error: urllib.error.HTTPError, start: int) -> None:
        """What to make of a status that is not 2xx; returns if the part turns out to be the end."""
        reason = str(error.reason).partition("\n")[0]
        answer = f"it answered {error.code} ({visible(reason)})"
        if error.code == 416 and start:
            found = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", "").strip())
            if int(found[1]) == start if found else self.remote.checksum:
                return  # nothing is missing; whether it is the right file is seen next
            self.discard_part()
            raise Fault(f"{answer}: the part was longer than the file there", again=True)
        if 300 <= error.code < 400:
            raise Fault(f"it redirects in a circle, or nowhere: {answer}")
        wait = retry_after(error.headers.get("Retry-After", ""))
        raise Fault(answer, again=error.code in PASSING, wait=wait)
