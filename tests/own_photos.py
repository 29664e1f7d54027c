"""A folder of photos as people have them: nested, linked, oddly named, and files that are none."""

import os
import struct
import zlib
from pathlib import Path

from PIL import Image

ODD_NAMES = ["two\nlines.jpg", "🐘 & <b>.png", "ünïcödé.JPEG", "a'b\"c.webp"]
NO_UTF8 = os.fsdecode(b"caf\xe9 \xff.jpg")  # Latin-1, as old cameras and archives have it

MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41" + bytes(500)
HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(500)  # its head, no picture


def put(path: Path, colour: object = (200, 30, 30), size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower())
    Image.new("RGB", size, colour).save(path, kind)
    return path


def put_huge(path: Path) -> None:
    """A PNG of 30,000 x 30,000 pixels whose few bytes would unpack to 2.7 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(90_001)) * 4
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def shut(monkeypatch, folder: Path) -> None:
    """Make a folder one that cannot be listed; its rights would not keep root from it."""
    scandir = os.scandir

    def refuse(path):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def put_hostile(root: Path) -> list[Path]:
    """Fill a folder with all that may be wrong; return the photos that can be read."""
    good = [put(root / "a.jpg"), put(root / "2024" / "May" / "b.png", (30, 200, 30))]
    good += [put(root / "odd" / name, (30, 30, 20 * i)) for i, name in enumerate(ODD_NAMES)]
    good.append(put(root / "odd" / NO_UTF8, (90, 90, 0)))
    (root / "empty.jpg").touch()
    (root / "video.jpg").write_bytes(MP4)
    put_huge(root / "huge.png")
    (root / "cut.jpg").write_bytes((root / "a.jpg").read_bytes()[:300])
    for name in ("film.MOV", "film2.mov", "notes.txt", "README"):
        (root / name).write_bytes(b"no photo")
    put(root / ".hidden" / "c.jpg")
    put(root / "@eaDir" / "c.jpg")
    (root / "2024" / "._b.png").write_bytes(b"of a Mac")
    os.symlink(root, root / "2024" / "circle")
    os.symlink("..", root / "up")
    os.symlink(root / "a.jpg", root / "0 link.jpg")
    os.symlink("nowhere", root / "broken.jpg")
    os.mkfifo(root / "pipe.jpg")
    return good
