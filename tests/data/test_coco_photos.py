"""An evening's set of COCO: chosen once for all, fetched photo by photo from bad servers."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from file_server import FileServer, gibberish, other, silence, status, trick
from PIL import Image

from mmret_lib.data import coco_photos, load_pairs
from mmret_lib.data.coco_photos import choose_photos, fetch_photos, get_photos
from mmret_lib.data.coco_sample import NOTE, choose
from mmret_lib.data.sources import SETS, Part, Source
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.remote import Remote

COUNTS = {"train": 80, "restval": 40, "val": 30, "test": 40}


def photo_bytes(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, 9, 200)).save(file, "JPEG")
    return file.getvalue()


def karpathy_json(counts: dict[str, int] = COUNTS) -> str:
    splits = [split for split, count in counts.items() for _ in range(count)]
    records = []
    for place, split in enumerate(splits):
        folder, number = "train2014" if split == "train" else "val2014", 7 * place + 1
        records.append(
            {
                "filepath": folder,
                "filename": f"COCO_{folder}_{number:012d}.jpg",
                "cocoid": number,
                "split": split,
                "sentences": [{"raw": f"photo {number}, {k}"} for k in range(5)],
            }
        )
    return json.dumps({"images": records})


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "coco"
    root.mkdir()
    (root / "dataset_coco.json").write_text(karpathy_json())
    return root


@pytest.fixture
def server(monkeypatch, root):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as server:
        for record in json.loads((root / "dataset_coco.json").read_text())["images"]:
            server.put(path_of(record), photo_bytes(record["cocoid"]))
        yield server


def path_of(record: dict) -> str:
    return f"/{record['filepath']}/{record['filename']}"


def fetched(server: FileServer) -> list[str]:
    return [path for path, *_ in server.requests]


def quickly(chosen, root, server, **options):
    options = {"pause": 0.01, "patience": 2.0, "progress": False, **options}
    return fetch_photos(chosen, root, hosts=[server.url], **options)


# ---------------------------------------------------------------- the choice


def splits_of(photos) -> Counter:
    return Counter(photo.image_info["split"] for photo in photos)


def test_an_evenings_set_is_divided_for_honest_figures(tmp_path):
    source = tmp_path / "dataset_coco.json"
    source.write_text(karpathy_json({"train": 600, "restval": 300, "val": 200, "test": 50}))
    of = splits_of(choose(source, 200))
    assert (of["train"] + of["restval"], of["val"], of["test"]) == (140, 10, 50)
    of = splits_of(choose(source, 400))  # test has run out: its places go to training
    assert (of["train"] + of["restval"], of["val"], of["test"]) == (330, 20, 50)
    assert len(choose(source, 10**6)) == 1150
    with pytest.raises(DataError, match="0 photos of COCO are asked for"):
        choose(source, 0)


def test_a_larger_choice_begins_with_the_smaller(root):
    source = root / "dataset_coco.json"
    everything = [photo.image_id for photo in choose(source, 190)]
    assert len(set(everything)) == 190
    for count in (1, 19, 20, 21, 77, 160, 189):
        assert [photo.image_id for photo in choose(source, count)] == everything[:count]


def test_the_choice_is_the_same_ever_after(root):
    """These ids must never change: who fetched 10 photos last year has these."""
    first = [photo.image_id for photo in choose(root / "dataset_coco.json", 10)]
    assert first == [820, 1128, 568, 8, 302, 1282, 645, 372, 267, 1289]


# ---------------------------------------------------------------- fetching


def test_captions_and_photos_of_an_evening_can_be_read(server, root, capsys):
    pairs = get_photos(root, 40, progress=False, hosts=[server.url])
    assert len(pairs) == 40 and len(pairs.captions) == 200
    said = capsys.readouterr().out
    assert said.index("CC BY 4.0") < said.index("40 photos of COCO, by Karpathy's splits: 28 to tr")
    test = load_pairs("coco", root=root, split="test")
    assert len(test) == 10 and test.image_ids == sorted(test.image_ids)  # the order of the file
    assert test.notes == (
        "10 of Karpathy's 40 photos of test, the choice of mmret data coco --images 40",
    )
    assert len(load_pairs("coco", root=root, split="train+restval")) == 28
    assert len(load_pairs("coco", root=root, split="val")) == 2
    for path, caption in zip(test.images, test.captions[::5], strict=True):
        number = int(path.stem[-12:])
        assert path.read_bytes() == photo_bytes(number)
        assert caption == f"photo {number}, 0"
    assert not list(root.rglob("*.part"))


@pytest.mark.slow
def test_a_larger_number_fetches_only_the_difference(server, root):
    get_photos(root, 20, progress=False, hosts=[server.url])
    first = fetched(server)
    get_photos(root, 20, progress=False, hosts=[server.url])
    assert fetched(server) == first and len(set(first)) == len(first) == 20
    get_photos(root, 60, progress=False, hosts=[server.url])
    assert len(set(fetched(server))) == len(fetched(server)) == 60


def test_photos_of_2017_that_lie_there_are_not_fetched(server, root):
    (root / "train2017").mkdir()
    for photo in choose(root / "dataset_coco.json", 15):
        name = f"{photo.image_id:012d}.jpg"
        (root / "train2017" / name).write_bytes(photo_bytes(photo.image_id))
    assert len(get_photos(root, 20, progress=False, hosts=[server.url])) == 20
    assert len(fetched(server)) == 5


@pytest.mark.slow
def test_with_all_photos_there_the_choice_is_no_matter(server, root):
    get_photos(root, 20, progress=False, hosts=[server.url])
    get_photos(root, 190, progress=False, hosts=[server.url])
    choose_photos(root, 20)
    pairs = load_pairs("coco", root=root, split="test")
    assert len(pairs) == 40 and pairs.notes == ()


@pytest.mark.slow
def test_pieces_can_be_used_while_the_rest_is_to_come(server, root):
    chosen = choose_photos(root, 40, progress=False)
    pieces = [quickly(chosen[k : k + 10], root, server) for k in range(0, 40, 10)]
    assert [id_ for pairs in pieces for id_ in pairs.image_ids] == [p.image_id for p in chosen]
    assert all(path.is_file() for pairs in pieces for path in pairs.images)
    assert len(fetched(server)) == 40


def test_karpathys_file_is_fetched_where_there_is_none(server, root, capsys):
    (root / "dataset_coco.json").rename(root.parent / "kept.json")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(root.parent / "kept.json", "dataset_coco.json")
    (root.parent / "kept.json").unlink()
    url = server.put("/caption_datasets.zip", file.getvalue())
    remote = Remote("caption_datasets.zip", (url,), len(file.getvalue()))
    part = Part(remote, only=("dataset_coco.json",))
    sets = {"coco": Source(SETS["coco"].terms, {"karpathy": part}, ("karpathy",))}
    get_photos(root / "new", 5, progress=False, hosts=[server.url], sets=sets)
    assert fetched(server)[0] == "/caption_datasets.zip" and len(fetched(server)) == 6
    assert capsys.readouterr().out.count("CC BY 4.0") == 1


PNG = io.BytesIO()
Image.new("RGB", (9, 9)).save(PNG, "PNG")


@pytest.mark.parametrize(
    "bad",
    [
        trick(stop=100),
        trick(stop=100, reset=True),
        pytest.param(trick(stop=100, stall=True), marks=pytest.mark.slow),
        trick(stop=300, length=False),
        other(b"<html>Please log in</html>"),
        other(photo_bytes(1)[:-40]),
        other(b""),
        status(503),
        status(429, {"Retry-After": "0"}),
        status(404),
        status(403),
        gibberish,
        pytest.param(silence, marks=pytest.mark.slow),
    ],
)
def test_a_bad_answer_costs_a_request_not_the_photo(server, root, bad):
    """Whatever the first answer is, the photo comes from the next try or the next host."""
    chosen = choose(root / "dataset_coco.json", 3)
    path = f"/{chosen[1].file_name}"
    server.tricks[path] = [bad]
    hosts = [server.url, server.url]
    pairs = fetch_photos(chosen, root, hosts=hosts, pause=0.01, patience=0.5, progress=False)
    assert len(pairs) == 3 and pairs.skipped == ()
    assert pairs.images[1].read_bytes() == server.files[path]
    assert not list(root.rglob(".*.part"))


def test_the_name_of_2017_is_tried_where_that_of_2014_is_gone(server, root):
    (photo,) = choose(root / "dataset_coco.json", 1)
    server.tricks[f"/{photo.file_name}"] = [status(404)]
    server.put(f"/val2017/{photo.image_id:012d}.jpg", photo_bytes(3))
    server.put(f"/train2017/{photo.image_id:012d}.jpg", b"", status(404))
    pairs = quickly([photo], root, server)
    assert pairs.images == [root / photo.file_name]
    assert pairs.images[0].read_bytes() == photo_bytes(3)


@pytest.mark.slow
def test_photos_that_no_server_has_are_counted_and_named(server, root, capsys):
    chosen = choose_photos(root, 40)
    gone = str(chosen[7].file_name)
    server.files[f"/{gone}"] = b""
    with pytest.raises(
        MissingFile, match=rf"1 of the 40 images .*{gone} is missing.*The same call"
    ):
        quickly(chosen, root, server)
    assert "1 photos could not be fetched" in capsys.readouterr().out
    pairs = quickly(chosen, root, server, max_missing=0.05)
    assert len(pairs) == 39 and gone in pairs.skipped[0]
    assert not (root / gone).exists()
    assert (
        len(load_pairs("coco", root=root, split="train+restval+val+test", max_missing=0.05)) == 39
    )


def test_a_dead_network_is_said_soon(root, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as server:
        url = server.url
    chosen = choose(root / "dataset_coco.json", 100)
    start = time.monotonic()
    with pytest.raises(MissingFile, match=r"32 photos in a row .*connection broke.*try again"):
        fetch_photos(chosen, root, hosts=[url], pause=0.01, progress=False)
    assert time.monotonic() - start < 20


def test_no_room_is_said_before_anything_is_fetched(server, root, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**26 + 10**6}))
    with pytest.raises(DataError, match=r"Fetching 40 photos takes 6,600,000 bytes"):
        get_photos(root, 40, progress=False, hosts=[server.url])
    assert server.requests == []


def test_a_name_that_leads_out_of_the_folder_is_refused(server, root):
    content = json.loads(karpathy_json())
    for record in content["images"]:
        record["filepath"] = "../.."
    (root / "dataset_coco.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="leads out of its folder"):
        get_photos(root, 5, progress=False, hosts=[server.url])
    assert server.requests == []


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_there(server, root, monkeypatch):
    """Ctrl-C after some photos: the next call asks only for the others."""
    chosen = choose(root / "dataset_coco.json", 60)
    done = []
    bar = coco_photos.tqdm

    class Interrupting(bar):
        def update(self, count=1):
            done.append(count)
            if len(done) == 20:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(coco_photos, "tqdm", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            quickly(chosen, root, server)
    there = {path.name for path in root.rglob("*.jpg")}
    assert 20 <= len(there) < 60 and not list(root.rglob(".*.part"))
    server.requests.clear()
    assert len(quickly(chosen, root, server)) == 60
    assert len(fetched(server)) == 60 - len(there)
    assert not there & {Path(path).name for path in fetched(server)}


@pytest.mark.kill
@pytest.mark.slow
def test_a_kill_leaves_whole_photos_and_the_next_call_goes_on(server, root):
    for path in server.files:
        server.tricks[path] = [trick(pause=0.05)]
    code = (
        "import sys; from mmret_lib.data.coco_photos import get_photos\n"
        "get_photos(sys.argv[1], 150, progress=False, hosts=[sys.argv[2]])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(root), server.url])
    end = time.monotonic() + 60
    while len(list(root.rglob("*.jpg"))) < 30 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = {path.name for path in root.rglob("*.jpg") if not path.name.startswith(".")}
    assert 30 <= len(there) < 150
    for path in root.rglob("*.jpg"):
        Image.open(path).load()
    chosen = [root / str(p.file_name) for p in choose(root / "dataset_coco.json", 150)]
    cut = next(path for path in chosen if path.name not in there)
    cut.with_name(f".{cut.name}.part").touch()  # what the process may have left
    time.sleep(0.5)  # the server has yet to notice
    server.requests.clear()
    assert len(get_photos(root, 150, progress=False, hosts=[server.url])) == 150
    assert not there & {Path(path).name for path in fetched(server)}
    assert not list(root.rglob(".*.part"))


@pytest.mark.slow
def test_a_damaged_note_is_no_choice(server, root):
    get_photos(root, 20, progress=False, hosts=[server.url])
    (root / NOTE).write_text("{")
    with pytest.raises(MissingFile, match=r"of the 40 images"):
        load_pairs("coco", root=root, split="test")
