"""Whole data sets, fetched from a server on this machine: what they leave can be read."""

import dataclasses
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile

import pytest
from file_server import FileServer, trick
from PIL import Image

from mmret_lib.data import load_pairs, sources
from mmret_lib.data.sources import SETS, Part, get
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.remote import Remote


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as server:
        yield server


def photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "JPEG")
    return file.getvalue()


def captions(*names: str) -> str:
    return json.dumps(
        {
            "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
            "annotations": [
                {"id": 2 * n + k, "image_id": n, "caption": f"{name} {k}"}
                for n, name in enumerate(names)
                for k in range(2)
            ],
        }
    )


def karpathy(**names: dict) -> str:
    return json.dumps(
        {
            "images": [
                {"filename": name, "split": "test", "sentences": [{"raw": "a dog"}], **more}
                for name, more in names.items()
            ]
        }
    )


TOKENS = "".join(f"{n}.jpg#{k}\ta dog\n" for n in (1, 2) for k in range(5))
NAME_2014 = "COCO_val2014_000000000001.jpg"
PHOTO_2017 = "000000000001.jpg"  # the same photo

# What the official archives hold, in small.
ARCHIVES = {
    "val2017.zip": {f"val2017/{PHOTO_2017}": photo(), "val2017/2.jpg": photo()},
    "train2017.zip": {"train2017/3.jpg": photo()},
    "annotations_trainval2017.zip": {
        "annotations/captions_val2017.json": captions(PHOTO_2017, "2.jpg"),
        "annotations/captions_train2017.json": captions("3.jpg"),
        "annotations/instances_val2017.json": "x" * 1000,
    },
    "val2014.zip": {f"val2014/{NAME_2014}": photo()},
    "train2014.zip": {"train2014/COCO_train2014_000000000002.jpg": photo()},
    "annotations_trainval2014.zip": {"annotations/captions_val2014.json": captions(NAME_2014)},
    "caption_datasets.zip": {
        "dataset_coco.json": karpathy(**{NAME_2014: {"filepath": "val2014", "cocoid": 1}}),
        "dataset_flickr30k.json": karpathy(**{"7.jpg": {}}),
        "dataset_flickr8k.json": "{}",
    },
    "Flickr8k_Dataset.zip": {
        "Flicker8k_Dataset/1.jpg": photo(),
        "Flicker8k_Dataset/2.jpg": photo(),
        "__MACOSX/._Flicker8k_Dataset": b"?",
    },
    "Flickr8k_text.zip": {
        "Flickr8k.token.txt": TOKENS,
        "Flickr_8k.testImages.txt": "1.jpg\n2.jpg\n",
        "readme.txt": "",
    },
}


@pytest.fixture
def sets(server):
    """The table of data sets as it is, but for where its files lie and how large they are."""

    def here(part: Part) -> Part:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in ARCHIVES[part.remote.name].items():
                archive.writestr(name, content)
        content = file.getvalue()
        url = server.put(f"/{part.remote.name}", content)
        sha256 = hashlib.sha256(content).hexdigest()
        remote = Remote(part.remote.name, (url,), len(content), sha256)
        return dataclasses.replace(part, remote=remote)

    return {
        name: dataclasses.replace(
            source, parts={key: here(part) for key, part in source.parts.items()}
        )
        for name, source in SETS.items()
    }


def asked(server: FileServer) -> list[str]:
    return [path.strip("/") for path, _, _ in server.requests]


def test_coco_2017_is_what_comes_unasked(server, sets, tmp_path, capsys):
    assert get("coco", tmp_path / "coco", progress=False, sets=sets) == tmp_path / "coco"
    photos = ["val2017.zip", "annotations_trainval2017.zip", "train2017.zip"]
    assert asked(server) == ["caption_datasets.zip", *photos]
    assert len(load_pairs("coco", root=tmp_path / "coco")) == 2
    pairs = load_pairs("coco", root=tmp_path / "coco", split="test")
    assert pairs.images == [tmp_path / "coco" / "val2017" / PHOTO_2017]
    assert len(load_pairs("coco", root=tmp_path / "coco", split="train2017")) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "CC BY 4.0" in said[0] and "karpathy, val2017, annot" in said[0]
    there = {path.name for path in (tmp_path / "coco").iterdir()}
    there.discard(".mmret-data.json.lock")  # which some versions of filelock leave
    parts = {"annotations", "train2017", "val2017", "dataset_coco.json"}
    assert there == {*parts, ".mmret-data.json"}
    assert not (tmp_path / "coco" / "annotations" / "instances_val2017.json").exists()


def test_a_second_call_does_nothing(server, sets, tmp_path, capsys):
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    capsys.readouterr()
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    assert asked(server) == ["val2017.zip"] and capsys.readouterr().out == ""
    get("coco", tmp_path, progress=False, sets=sets)
    rest = ["caption_datasets.zip", "annotations_trainval2017.zip", "train2017.zip"]
    assert asked(server)[1:] == rest


def test_what_somebody_deleted_is_fetched_again(server, sets, tmp_path):
    get("coco", tmp_path, ["2017"], progress=False, sets=sets)
    (tmp_path / "val2017" / "2.jpg").unlink()
    get("coco", tmp_path, ["2017"], progress=False, sets=sets)
    assert asked(server)[3:] == ["val2017.zip"]
    assert len(load_pairs("coco", root=tmp_path)) == 2


@pytest.mark.parametrize(
    "note", ["", "[]", '{"coco/val2017": 3}', '{"coco/val2017": {"holds": 3}}']
)
def test_a_spoiled_note_is_no_note(server, sets, tmp_path, note):
    (tmp_path / ".mmret-data.json").write_text(note)
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    assert asked(server) == ["val2017.zip"]


def test_karpathys_coco(sets, tmp_path):
    get("coco", tmp_path, ["2014"], progress=False, sets=sets)
    pairs = load_pairs("coco", root=tmp_path, split="test", karpathy="dataset_coco.json")
    assert pairs.images == [tmp_path / "val2014" / NAME_2014]
    assert len(load_pairs("coco", root=tmp_path, split="val2014")) == 1
    assert not (tmp_path / "dataset_flickr8k.json").exists()


def test_flickr8k(sets, tmp_path, capsys):
    get("flickr8k", tmp_path, progress=False, sets=sets)
    assert len(load_pairs("flickr8k", root=tmp_path, split="test")) == 2
    assert "non-commercial" in capsys.readouterr().out


def test_flickr30k_must_be_asked_for(server, sets, tmp_path):
    with pytest.raises(MissingFile) as caught:
        get("flickr30k", tmp_path / "f", progress=False, sets=sets)
    message = str(caught.value)
    assert str(tmp_path / "f") in message and "flickr30k-images" in message
    assert "https://forms.illinois.edu/sec/229675" in message
    assert server.requests == []


@pytest.mark.parametrize("folder", SETS["flickr30k"].photos)
def test_flickr30k_photos_that_lie_there_are_accepted(server, sets, tmp_path, folder):
    (tmp_path / folder).mkdir()
    with pytest.raises(MissingFile, match=r"7\.jpg is missing"):
        get("flickr30k", tmp_path, progress=False, sets=sets)
    (tmp_path / folder / "7.jpg").write_bytes(photo())
    get("flickr30k", tmp_path, progress=False, sets=sets)
    assert len(load_pairs("flickr30k", root=tmp_path, split="test")) == 1
    assert asked(server) == ["caption_datasets.zip"]


def test_archives_may_be_kept(server, sets, tmp_path):
    get("coco", tmp_path, ["val2017"], keep_archives=True, progress=False, sets=sets)
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)  # not deleted by a later call
    assert (tmp_path / "val2017.zip").read_bytes() == server.files["/val2017.zip"]
    (tmp_path / "val2017" / "2.jpg").unlink()
    get("coco", tmp_path, ["val2017"], keep_archives=True, progress=False, sets=sets)
    assert asked(server) == ["val2017.zip"]  # unpacked anew, not fetched anew


def test_an_archive_put_there_by_hand_is_used(server, sets, tmp_path):
    (tmp_path / "val2017.zip").write_bytes(server.files["/val2017.zip"])
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    assert server.requests == [] and (tmp_path / "val2017" / PHOTO_2017).exists()


def test_room_is_looked_for_before_hours_of_fetching(server, sets, tmp_path, monkeypatch):
    free = 2**26 + len(server.files["/val2017.zip"]) + 10  # for the archive, not for its photos
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    with pytest.raises(DataError, match=r"Fetching and unpacking val2017 takes"):
        get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "parts", "words"),
    [
        ("scenes", None, "nothing to fetch for 'scenes'.* coco, flickr8k, flickr30k"),
        (
            "coco",
            ["val2018"],
            "coco has no part 'val2018'; its parts are 2017, 2014, karpathy, val2017",
        ),
        ("flickr8k", [""], "flickr8k has no part ''; its parts are text, images"),
    ],
)
def test_names_that_do_not_exist(tmp_path, name, parts, words):
    with pytest.raises(DataError, match=words):
        get(name, tmp_path, parts)


def test_killed_between_fetching_and_tidying_up(server, sets, tmp_path):
    """The note is written before the archive goes; a run that died in between leaves both."""
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    (tmp_path / "val2017.zip").write_bytes(server.files["/val2017.zip"])
    get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    assert not (tmp_path / "val2017.zip").exists()


@pytest.mark.slow
def test_an_interrupted_set_is_finished(server, sets, tmp_path, monkeypatch):
    def interrupted(*names: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sources, "unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get("coco", tmp_path, ["val2017"], progress=False, sets=sets)
    server.tricks["/train2017.zip"] = [trick(stop=50)]
    get("coco", tmp_path, progress=False, sets=sets)
    assert asked(server).count("val2017.zip") == 1
    assert server.ranges[-1] == "bytes=50-"
    assert len(load_pairs("coco", root=tmp_path, split="train2017")) == 1


# ---------------------------------------------------------------- the table itself


def test_every_file_has_a_checksum_and_an_address():
    for name, source in SETS.items():
        assert source.terms and source.usual
        for part in source.parts.values():
            assert part.remote.urls and part.remote.checksum is not None
            kind, digits = part.remote.checksum
            assert re.fullmatch("[0-9a-f]{64}" if kind == "sha256" else "[0-9a-f]{32}", digits)
            for url in part.remote.urls:
                assert re.fullmatch(r"https?://[\w./-]+", url) and url.endswith(part.remote.name)
        names = [part.remote.name for part in source.parts.values()]
        assert len(set(names)) == len(names), name
        for group in (*source.groups.values(), source.usual):
            assert set(group) <= {*source.parts, *source.groups}


def test_the_command_line_need_not_wait_for_torch():
    code = "import sys, mmret_lib.data.sources; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
