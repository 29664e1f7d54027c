"""The evening's set of COCO: three lost sessions cost neither a photo nor a figure."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from file_server import FileServer, status
from PIL import Image

from mmret_lib.data.coco_photos import fetch_photos
from mmret_lib.data.coco_sample import choose
from mmret_lib.files.errors import DataError
from mmret_lib.files.keep import Kept
from mmret_lib.studies.evening import evening

ROOT = Path(__file__).resolve().parents[2]
COUNT, PIECE = 48, 12
POCKET = {"image_backbone": "pocket", "text_backbone": "pocket"}
COLOURS = ["red", "green", "blue", "white", "black", "yellow", "grey", "pink"]

# One session: what the cell of the lesson does, with a small model and other servers.
SESSION = """
import json, sys, time
from functools import partial
from pathlib import Path

import torch
from mmret_lib.data.coco_photos import fetch_photos
from mmret_lib.data.coco_sample import choose
from mmret_lib.studies.evening import evening
from mmret_lib.training import TrainConfig, Trainer

home, url, count, piece, slow = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(1)
step = Trainer.train_step
def train_step(self, batch):
    print("a step at", time.time(), flush=True)
    time.sleep(0.1 * slow)
    return step(self, batch)
Trainer.train_step = train_step
run, figures = evening(
    count, home / "local" / "coco", home / "local" / "evening",
    keep=home / "drive",
    backbones={"image_backbone": "pocket", "text_backbone": "pocket"},
    config=TrainConfig(
        train="projections", augment="none", batch_size=8, epochs=6, patience=4, device="cpu"
    ),
    piece=piece,
    choose=lambda root, count: choose(home / "dataset_coco.json", count),
    fetch=lambda chosen, root: fetch_photos(chosen, root, hosts=[url], progress=False, pause=0.01),
    progress=False,
)
print(json.dumps([figures, run.history.rows and [r["loss"] for r in run.history.rows]]))
"""


def photo_bytes(number):
    file = io.BytesIO()
    image = Image.new("RGB", (80, 60), COLOURS[number % 8])
    image.paste(COLOURS[number // 8 % 8], (0, 0, 10 + number % 50, 40))
    image.save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def server():
    os.environ["no_proxy"] = "127.0.0.1"
    with FileServer() as server:
        for record in json.loads(karpathy())["images"]:
            path = f"/{record['filepath']}/{record['filename']}"
            server.put(path, photo_bytes(record["cocoid"]))
        yield server


def karpathy():
    """A small `dataset_coco.json`."""
    splits = ["train"] * 40 + ["restval"] * 10 + ["val"] * 10 + ["test"] * 20
    records = []
    for number, split in enumerate(splits, start=1):
        folder = "train2014" if split == "train" else "val2014"
        one, two = COLOURS[number % 8], COLOURS[number // 8 % 8]
        captions = [f"{two} {width} on {one}" for width in (number, "bar", "box", "thing", number)]
        records.append(
            {
                "filepath": folder,
                "filename": f"COCO_{folder}_{number:012d}.jpg",
                "cocoid": number,
                "split": split,
                "sentences": [{"raw": caption} for caption in captions],
            }
        )
    return json.dumps({"images": records})


@pytest.fixture
def home(tmp_path):
    (tmp_path / "dataset_coco.json").write_text(karpathy())
    return tmp_path


def session(home, server, *, slow=False):
    arguments = [sys.executable, "-c", SESSION, home, server.url, COUNT, PIECE, int(slow)]
    return subprocess.Popen(
        [str(argument) for argument in arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process):
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, said + errors
    return json.loads(said.splitlines()[-1])


def lose(process, home, until):
    """Kill the session as soon as `until` holds, and wipe the local disk."""
    limit = time.monotonic() + 300
    while not until() and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    ended = process.poll() is not None
    process.kill()
    said, errors = process.communicate()
    assert ended is False or process.returncode == 0, said + errors
    shutil.rmtree(home / "local")
    return said


def kept_pieces(home):
    folder = home / "drive" / "evening" / "features"
    if not folder.is_dir():
        return []
    return [name for name in os.listdir(folder) if Kept(folder, name).newest()]


def kept_kind(home):
    found = Kept(home / "drive" / "evening", "run").newest() if kept_pieces(home) else None
    return found and found[1]["kind"]


@pytest.mark.kill
@pytest.mark.slow
def test_three_lost_sessions_end_as_one_that_nothing_disturbed(home, server, tmp_path_factory):
    quiet = tmp_path_factory.mktemp("quiet")
    shutil.copy(home / "dataset_coco.json", quiet)
    expected = outcome(session(quiet, server))
    del server.requests[:]

    # Lost while photos are fetched and features computed.
    lose(session(home, server), home, lambda: len(kept_pieces(home)) >= 2)
    safe = set(kept_pieces(home))
    assert len(safe) >= 2
    fetched = [path for path, *_ in server.requests]
    assert len(fetched) == len(set(fetched)) >= 2 * PIECE

    # Lost while the projections are trained.
    lose(session(home, server, slow=True), home, lambda: kept_kind(home) == "snapshot")
    assert kept_kind(home) == "snapshot"
    later = [path for path, *_ in server.requests][len(fetched) :]
    assert len(later) == COUNT - PIECE * len(safe)  # those of the kept pieces are not among them
    del server.requests[:]

    # Lost after the training, before the figures are printed or just after.
    said = lose(session(home, server), home, lambda: kept_kind(home) == "run")
    assert 0 < said.count("a step") < 6 * 4  # it did not begin anew
    assert kept_kind(home) == "run"

    process = session(home, server)
    assert outcome(process) == expected
    assert not server.requests  # neither photos nor captions are asked for again
    assert not (home / "local" / "coco" / "train2014").exists()


def quickly(home, server, **options):
    options = {
        "keep": home / "drive",
        "backbones": POCKET,
        "piece": PIECE,
        "choose": lambda root, count: choose(home / "dataset_coco.json", count),
        "fetch": lambda chosen, root: fetch_photos(
            chosen, root, hosts=[server.url], progress=False, pause=0.01, max_missing=0.5
        ),
        "progress": False,
        **options,
    }
    return evening(24, home / "local" / "coco", home / "local" / "evening", **options)


@pytest.mark.slow
def test_photos_that_are_not_to_be_had_are_left_out_for_good(home, server, capsys):
    photos = choose(home / "dataset_coco.json", 24)
    missing = next(p for p in photos if p.image_info["split"] == "test")
    path = f"/{missing.file_name}"
    content = server.files[path]
    server.put(path, content, *[status(404)] * 3)
    _, figures = quickly(home, server)
    assert figures["images"] == 5
    said = capsys.readouterr().out
    assert "comparable: not with published" in said and "5 photos, not the 5,000" in said
    shutil.rmtree(home / "local")
    run, again = quickly(home, server)
    assert run.finished_before and again == figures
    server.put(path, content)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:nothing new is kept")
def test_a_drive_that_fails_is_warned_of_and_the_evening_goes_on(home, server, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "put", fail)
        with pytest.warns(UserWarning, match=r"is not kept in .*28"):
            _, figures = quickly(home, server)
    # The next call on the same disk keeps what the first one could not.
    run, again = quickly(home, server)
    assert run.finished_before and again == figures
    assert len(kept_pieces(home)) == 2 and kept_kind(home) == "run"


def test_without_the_drive_it_does_not_begin(home, server):
    with pytest.raises(DataError, match="Mount the Drive first"):
        quickly(home, server, keep=home / "drive" / "MyDrive" / "mmret")
    assert not (home / "local").exists()
