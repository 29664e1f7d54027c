"""A path that begins with ~ lies in the home folder, wherever it is given."""

import inspect
import json
import os
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import tyro
from PIL import Image

from mmret_lib import cli
from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.images import read_image, read_pixels
from mmret_lib.data.judgements import read_judgements
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders.load import load_model
from mmret_lib.encoders.weights import read_safetensors
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder, user_path
from mmret_lib.search.folder import IndexFolder
from mmret_lib.show.app import find_runs
from mmret_lib.show.html import write_page
from mmret_lib.studies.measure import measure_studies
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model, load_run
from mmret_lib.training.snapshots import Snapshots

# What is given to each command; `search`'s query is tested with tests/search/test_query.py.
ARGUMENTS = {
    "demo": ["--out=~/a"],
    "prepare": ["coco", "--root=~/a"],
    "train": ["--root=~/a", "--out=~/a", "--features=~/a", "--keep=~/a", "--from=~/a"],
    "evaluate": [
        *("~/a", "--root=~/a", "--judgements=~/a", "--against=~/a", "--table=~/a", "--json=~/a")
    ],
    "search": ["~/a", "a zebra", "--root=~/a", "--index=~/a", "--out=~/a", "--json=~/a"],
    "make_index": ["~/a", "~/a", "--root=~/a", "--photos=~/a"],
    "explore": ["~/a", "~/a", "--root=~/a", "--photos=~/a"],
    "pretrain": ["image", "--out=~/a", "--texts=~/a", "--teacher=~/a"],
    "experiments": ["--out=~/a"],
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder; anything that lands in a folder named ~ lands in `elsewhere`."""
    folder = tmp_path / "home"
    (folder / "photos").mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(folder / "photos" / "red.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    return folder


@pytest.fixture
def nothing_elsewhere(home: Path):
    yield
    assert os.listdir(home.parent / "elsewhere") == []


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_path_of_every_command(home, name):
    command = getattr(cli, name)
    given = {}

    def stand_in(**arguments: object) -> None:
        given.update(arguments)

    stand_in.__signature__ = inspect.signature(command)
    stand_in.__annotations__ = get_type_hints(command, include_extras=True)
    with cli.types:
        tyro.cli(stand_in, args=ARGUMENTS[name])
    paths = {n: given[n] for n, kind in command.__annotations__.items() if "Path" in str(kind)}
    assert paths
    for value in paths.values():
        assert value in (home / "a", (home / "a", home / "a"))


@pytest.mark.usefixtures("nothing_elsewhere")
def test_every_path_of_the_library(home, monkeypatch):
    pairs = Pairs([home / "photos" / "red.png"], ["red"], np.zeros(1, int), [0])
    assert pack(pairs, 16, "~/store", progress=False).folder == home / "store"
    assert len(Store.open("~/store")) == 1
    assert read_image("~/photos/red.png").size == (20, 20)
    assert read_pixels("~/photos/red.png", 16).shape == (3, 16, 16)
    world = load_pairs("scenes", root="~/worlds", size=5, progress=False)
    assert world.images[0].is_relative_to(home / "worlds")
    (home / "worlds" / "extra.json").write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(DataError, match=str(home / "worlds" / "extra")):
        load_pairs(
            "coco",
            root=world.images[0].parents[1],
            annotations="~/worlds/extra.json",
            images="~/photos",
        )
    model = build_model("simclr", world, image_weights=None, text_weights=None)
    loss = build_loss("simclr")
    assert (
        Trainer(model, loss, world, TrainConfig(batch_size=4), folder="~/run").folder
        == home / "run"
    )
    model.save("~/model")
    assert (home / "model" / "model.json").is_file()
    assert load_model("~/model").dim == model.dim
    assert read_safetensors("~/model/model.safetensors").keys() == model.state_dict().keys()
    write_page("~/page.html", "a zebra", [])
    assert (home / "page.html").is_file()
    assert IndexFolder("~/index").path == home / "index"
    assert Snapshots("~/s").folder == home / "s"
    assert find_runs("~/runs") == []
    measure_studies(out="~/results", studies={})
    assert (home / "results").is_dir()
    monkeypatch.setenv("MMRET_CACHE", "~/cache")
    assert cache_folder() == home / "cache"


@pytest.mark.usefixtures("nothing_elsewhere")
@pytest.mark.parametrize(
    "read",
    [
        load_run,
        Store.open,
        load_model,
        lambda path: load_pairs("coco", root=path),
        lambda path: load_pairs("flickr8k", root=path),
        lambda path: load_pairs("flickr30k", root=path),
        lambda path: read_judgements(path, None),
    ],
    ids=["run", "store", "model", "coco", "flickr8k", "flickr30k", "judgements"],
)
def test_what_is_missing_is_named_in_full(home, read):
    with pytest.raises(MissingFile) as caught:
        read("~/nowhere")
    assert str(home / "nowhere") in str(caught.value)


def test_an_unknown_user_has_no_home():
    with pytest.raises(DataError, match=r"~nobody-of-that-name/x: .* write the folder out"):
        user_path("~nobody-of-that-name/x")
