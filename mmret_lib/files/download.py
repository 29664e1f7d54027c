"""Download large files over unreliable networks.

A file is written to `.NAME.part` beside its final name. After an interruption (a lost connection,
Ctrl-C, a killed process) the next call asks the server for the rest. The file gets its name when
its size and checksum are right.
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
from mmret_lib.files.remote import Remote, WrongBytes, note_verified, verify
from mmret_lib.files.web import LONGEST_WAIT, Fault, network, opener, retry_after, validator_of
from mmret_lib.files.whole import move_into_place

PIECE = 2**16  # bytes read from the network at a time
PROGRESS = 2**20  # a try that got this many bytes further does not count as a failed one
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses after which to try again


def fetch(
    remote: Remote,
    folder: str | Path,
    *,
    progress: bool = True,
    tries: int = 6,
    pause: float = 1.0,
    patience: float = 30.0,
) -> Path:
    """Download a file into a folder, unless the right file is there already.

    An interrupted download is continued: from any server if a checksum is known, otherwise only
    from the same server and only if the file there has not changed. If another process fetches the
    same file, this one waits for it.

    Args:
        folder: made if it does not exist.
        tries: failures in a row after which the next server is asked.
        pause: seconds before the second try; each further wait is twice as long, up to
            LONGEST_WAIT.
        patience: seconds without a single byte after which a connection counts as broken.

    Returns:
        The path of the file, size and checksum verified.

    Raises:
        MissingFile: if no server sent it; the message gives each server's reason and the remedy.
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
    """One call of `fetch`."""

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
        self.origin = self.folder / f".{name}.part.json"  # server and version of the part
        self.bar: Any = None
        self.answered = False  # whether any server has answered
        self.cannot_continue: set[str] = set()  # servers that do not send the range asked for

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
            ensure_room(
                self.folder, self.remote.size - self.part_size(), f"Fetching {self.remote.name}"
            )
        with tqdm(
            desc=self.remote.name,
            total=self.remote.size,
            initial=self.part_size(),
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
        kept = self.part_size() if any(self.range_headers(url) for url in self.remote.urls) else 0
        known = [f"{size:,} bytes"] if size is not None else []
        known += [" ".join(checksum)] if checksum else []
        raise MissingFile(
            f"{self.remote.name} could not be fetched. {'. '.join(faults)}. Try again"
            + (f" ({kept:,} bytes are kept and will be continued)" if kept else "")
            + f", or put the file at {self.target} by hand"
            + (f" ({', '.join(known)})." if known else ".")
        )

    def part_size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def discard_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def from_server(self, url: str) -> None:
        """Ask one server until the file is complete; raise Fault when it has failed too often."""
        size = self.remote.size
        failed, furthest, wrong_bytes = 0, self.part_size(), False
        while True:
            if size is not None and self.part_size() > size:
                self.discard_part()
            try:
                if size is None or self.part_size() != size:
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
                failed = 1 if self.part_size() >= furthest + PROGRESS else failed + 1
                furthest = max(furthest, self.part_size())
                # Where no server has answered, there is probably no network: say so soon.
                if failed >= (self.tries if self.answered else min(self.tries, 2)):
                    raise Fault(f"{fault} ({failed} tries in a row)") from None
                time.sleep(min(max(self.pause * 2 ** (failed - 1), fault.wait), LONGEST_WAIT))

    def finish(self) -> None:
        """Give the part its name if it is the right file, else delete it."""
        try:
            verify(self.remote, self.part, progress=self.progress)
        except WrongBytes:
            self.discard_part()
            raise
        move_into_place(self.part, self.target)
        self.origin.unlink(missing_ok=True)
        note_verified(self.remote, self.target)

    def ask(self, url: str) -> None:
        """Request what is missing and append it to the part; `finish` checks the result."""
        range_headers = self.range_headers(url)
        start = self.part_size() if range_headers else 0
        headers = {"User-Agent": "mmret", "Accept-Encoding": "identity", **range_headers}
        try:
            with network(self.patience):
                request = urllib.request.Request(url, headers=headers)
                response = opener().open(request, timeout=self.patience)
        except urllib.error.HTTPError as error:
            self.answered = True
            with error:
                return self.on_error(error, start)
        self.answered = True
        with response:
            total = self.check_headers(url, response, start)
            self.receive(url, response, start if response.status == 206 else 0, total)

    def range_headers(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest of the file; none where all of it is needed."""
        have, origin = self.part_size(), read_note(self.origin)
        validator = origin.get("validator") if origin.get("url") == url else None
        if not have or url in self.cannot_continue:
            return {}
        if validator:  # if the file has changed, the server sends all of it
            return {"Range": f"bytes={have}-", "If-Range": validator}
        return {"Range": f"bytes={have}-"} if self.remote.checksum else {}

    def check_headers(self, url: str, response: Any, start: int) -> int | None:
        """Raise Fault unless the server is about to send what was asked for; return the full size.

        The size is None where the server does not say it.
        """
        headers, size = response.headers, self.remote.size
        if response.status == 206:
            given = headers.get("Content-Range", "")
            sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", given.strip())
            if not start or sent is None or int(sent[1]) != start:
                self.cannot_continue.add(url)
                raise Fault(
                    f"asked to go on at byte {start:,} it sends {visible(given) or 'no range'}",
                    again=True,
                )
            total = None if sent[2] == "*" else int(sent[2])
            if not self.remote.checksum and total != read_note(self.origin).get("total"):
                self.discard_part()
                raise Fault("the file has changed while it was being fetched", again=True)
        elif response.status == 200:
            total = response.length
        else:
            raise Fault(f"it answered {response.status}, not the file")
        right_size = size is not None and total == size
        encoding = headers.get("Content-Encoding", "identity").lower()
        if headers.get_content_type() == "text/html" and not right_size:
            raise Fault("it sends a web page in place of the file (a login or an error page?)")
        if size is not None and total is not None and not right_size:
            raise Fault(f"it offers {total:,} bytes where {size:,} are expected")
        # For a .gz some servers name the encoding of the file itself; the checksum decides.
        if encoding != "identity" and not (right_size or self.remote.name.endswith("gz")):
            raise Fault(f"it sends the file encoded ({visible(encoding)}), though asked not to")
        if total is None and not (self.remote.checksum or size or response.chunked):
            raise Fault("it does not say how long the file is, so a half could pass for the whole")
        return total

    def receive(self, url: str, response: Any, position: int, total: int | None) -> None:
        """Append the body to the part, which holds `position` bytes, or starts anew at 0."""
        end = self.remote.size if self.remote.size is not None else total
        length, got = response.length, 0
        if end is not None:
            ensure_room(self.folder, end - self.part_size(), f"Fetching {self.remote.name}")
        if position == 0:
            self.part.write_bytes(b"")  # before the note: it must not describe an old part
            facts = {"url": url, "validator": validator_of(response.headers), "total": total}
            write_json(self.origin, facts)
        elif read_note(self.origin).get("url") != url:
            self.origin.unlink(missing_ok=True)  # from two servers: no validator describes it
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
                if end is None:  # of unknown length: stop before the disk is full
                    ensure_room(self.folder, len(piece), f"Fetching {self.remote.name}")
                file.write(piece)
                self.bar.update(len(piece))
        if (end is not None and position < end) or (length is not None and got < length):
            of = f" of {end:,}" if end is not None else ""
            raise Fault(f"the connection ended after {position:,}{of} bytes", again=True)

    def on_error(self, error: urllib.error.HTTPError, start: int) -> None:
        """Raise the Fault for a status that is not 2xx; return if the part is complete already."""
        reason = str(error.reason).partition("\n")[0]
        answer = f"it answered {error.code} ({visible(reason)})"
        if error.code == 416 and start:
            total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", "").strip())
            if int(total[1]) == start if total else self.remote.checksum:
                return  # nothing is missing; `finish` checks whether it is the right file
            self.discard_part()
            raise Fault(f"{answer}: the part was longer than the file there", again=True)
        if 300 <= error.code < 400:
            raise Fault(f"it redirects in a circle, or nowhere: {answer}")
        wait = retry_after(error.headers.get("Retry-After", ""))
        raise Fault(answer, again=error.code in TEMPORARY, wait=wait)
