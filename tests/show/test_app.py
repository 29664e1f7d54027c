"""`mmret app` up to the point where the page is served; test_browser.py goes on."""

import json
import shutil
import socket
import sys
import types
from dataclasses import replace
from pathlib import Path

import ipywidgets
import pytest
from own_photos import put
from PIL import Image

from mmret_lib.cli import main
from mmret_lib.data import load_pairs
from mmret_lib.files.cache import list_cache
from mmret_lib.files.errors import DataError
from mmret_lib.search import cache
from mmret_lib.show import app, server
from mmret_lib.show.app import QUICK, choose_runs, find_runs, quick_runs, serve
from mmret_lib.training.run import load_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("quick")
    return quick_runs(folder, size=64, config=replace(QUICK, epochs=1, batch_size=32))


@pytest.fixture(autouse=True)
def widgets_8(monkeypatch):
    """These tests hold with Colab's ipywidgets 7, too, since in them nothing is shown."""
    monkeypatch.setattr(ipywidgets, "__version__", "8.1")


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """40 pictures, where nobody asks for another number, instead of a thousand."""
    monkeypatch.setattr(
        app,
        "load_pairs",
        lambda name, **options: load_pairs(name, **{"size": 40, **options}),
    )


@pytest.fixture
def served(monkeypatch):
    """What `serve` would have been asked for."""
    asked: list[tuple] = []
    monkeypatch.setattr(app, "serve", lambda runs, **options: asked.append((runs, options)))
    return asked


@pytest.fixture
def launched(monkeypatch):
    """What Voila would have been started with."""
    started: list[tuple] = []
    monkeypatch.setenv(app.SETTING, "")
    monkeypatch.setenv("JUPYTER_PATH", "")
    monkeypatch.setattr(
        app.import_voila(),
        "launch_instance",
        lambda argv, **options: started.append((argv, options)),
    )
    return started


def test_quick_runs_are_trained_once(runs, monkeypatch):
    assert [run.name for run in runs] == ["simclr", "max_triplet"]
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    assert [record["loss"] for record in records] == ["simclr", "max_triplet"]
    monkeypatch.setattr(app, "train_run", lambda *_, **__: pytest.fail("trained again"))
    assert quick_runs(runs[0].parent) == runs


@pytest.mark.slow
def test_of_the_runs_that_are_there_those_of_one_data_set_are_offered(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    for name, run in (("own", runs[1]), ("photos", runs[0])):
        shutil.copytree(run, tmp_path / "runs" / name)
    file = tmp_path / "runs" / "photos" / "run.json"
    file.write_text(file.read_text().replace('"scenes"', '"coco"'))
    monkeypatch.setattr(app, "load_run", lambda run: pytest.fail("records are enough"))
    chosen, first = choose_runs()
    assert chosen == [Path("runs/own")] and first["name"] == "scenes"
    both = [Path("runs/photos"), Path("runs/own")]
    assert choose_runs(both)[0] == both, "those that were asked for are all offered"


def test_finished_runs_are_found_simclr_first(tmp_path):
    for name in ("own", "demo/runs/max_triplet", "demo/runs/simclr"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "unfinished" / "snapshots").mkdir(parents=True)
    found = [run.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)]
    assert found == ["demo/runs/simclr", "demo/runs/max_triplet", "own"]
    assert find_runs(tmp_path / "nowhere") == []


def test_without_a_run_two_small_models_are_shown(tmp_path, monkeypatch, runs, served, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "quick_runs", lambda: runs)
    main(["app", "--no-browser"])
    said = capsys.readouterr().out
    assert "no finished run under runs/" in said and "mmret demo" in said
    [(shown, options)] = served
    assert shown == runs
    assert options["host"] == "127.0.0.1" and not options["browser"]
    assert (options["data"], options["split"]) == ("scenes", "test")


def test_runs_that_are_there_are_shown_and_nothing_is_trained(tmp_path, monkeypatch, runs, served):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(runs[1])
    monkeypatch.setattr(app, "quick_runs", lambda: pytest.fail("nothing is to be trained"))
    main(["app"])
    assert served[0][0] == [Path("runs/mine")]


def test_photos_without_a_run_are_one_line(tmp_path, monkeypatch, served, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["app", "--data", "coco", "--root", "photos"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "mmret train" in said and not served


def test_without_voila_it_says_what_to_install(tmp_path, monkeypatch, served, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "voila.app", None)
    with pytest.raises(SystemExit):
        main(["app"])
    assert capsys.readouterr().err == "mmret: the page needs Voila: pip install voila\n"


def test_with_the_widgets_of_colab_it_says_what_to_do(tmp_path, monkeypatch, served, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ipywidgets, "__version__", "7.7.1")
    with pytest.raises(SystemExit):
        main(["app"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "needs ipywidgets 8, and 7.7.1" in said and not served


@pytest.mark.slow
def test_only_this_machine_is_served_unless_told(runs, launched, capsys):
    world = {"data": "scenes", "root": None, "split": "test"}
    serve(runs, **world, port=20_000, browser=False)
    said = capsys.readouterr()
    [(argv, options)] = launched
    assert "--Voila.ip=127.0.0.1" in argv and "--Voila.open_browser=False" in argv
    assert options["tornado_settings"]["allow_remote_access"] is False
    assert "models: simclr, max_triplet" in said.out and "http://127.0.0.1:20" in said.out
    assert "warning" not in said.out + said.err
    serve(runs, **world, host="0.0.0.0", port=20_000, browser=False)
    said = capsys.readouterr()
    argv, options = launched[1]
    assert "--Voila.ip=0.0.0.0" in argv and options["tornado_settings"]["allow_remote_access"]
    assert "warning: listening at 0.0.0.0: everyone" in said.err and "password" in said.err


def test_the_next_free_port_is_taken_and_told(runs, launched, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serve(runs, data="scenes", root=None, split="test", port=port, browser=False)
    [used] = [part for part in launched[0][0] if part.startswith("--Voila.port=")]
    assert port < int(used.partition("=")[2]) < port + server.PORTS
    assert f"http://127.0.0.1:{used.partition('=')[2]}/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "port", "word"),
    [("127.0.0.1", 70_000, "65535"), ("no.such.host.invalid", 8866, "no.such")],
)
def test_a_place_that_cannot_be_listened_at_is_told(runs, launched, host, port, word):
    with pytest.raises(DataError, match=r"choose others with --host and --port") as error:
        serve(runs, data="scenes", root=None, split="test", host=host, port=port)
    assert word in str(error.value) and not launched


def test_two_runs_of_one_loss_keep_both_names(runs, launched, capsys):
    serve([runs[0], runs[0]], data="scenes", root=None, split="test", browser=False)
    assert f"models: simclr, {runs[0]}" in capsys.readouterr().out


def test_the_page_shows_what_serve_said(runs, launched, monkeypatch):
    pages: list = []

    def visit(**_) -> None:
        # What was embedded before anyone came is not embedded again.
        monkeypatch.setattr(cache, "embed", lambda *_: pytest.fail("again"))
        pages.append(app.page())

    monkeypatch.setattr(app.import_voila(), "launch_instance", visit)
    serve(runs, data="scenes", root=None, split="test", browser=False)
    heading, explorer, weights_heading, weights = pages[0].children
    assert "find the picture" in heading.value and "24 pairs" in weights_heading.value
    assert explorer.query == "Baby elephant plays in the water" and len(explorer.hits) == 5
    assert list(explorer.indexes) == ["simclr", "max_triplet"]
    assert list(explorer.indexes.built) == ["simclr"], "the other one waits until it is asked"
    assert len(weights.captions) == app.BATCH


def test_the_page_finds_your_own_photos(runs, launched, monkeypatch, tmp_path):
    """With the captions file and its columns, as `serve` was told."""
    monkeypatch.setattr(app, "load_pairs", load_pairs)
    for index in range(3):
        Image.new("RGB", (40, 40), (80 * index, 9, 9)).save(tmp_path / f"{index}.png")
    (tmp_path / "mine.csv").write_text("photo,words\n0.png,one\n1.png,two\n2.png,three\n")
    options = {"image_column": "photo", "caption_column": "words"}
    options["captions"] = str(tmp_path / "mine.csv")
    serve(runs[:1], data="folder", root=None, split="all", options=options, browser=False)
    explorer, weights = app.page().children[1::2]
    assert "3 pictures" in explorer.results.value
    assert list(weights.captions) == ["one", "two", "three"]


def test_what_one_visitor_embedded_serves_the_next(runs, monkeypatch):
    pairs = load_pairs("scenes", split="test", size=20, progress=False)
    named = {run.name: str(run) for run in runs}
    first = app.Indexes(named, pairs)["max_triplet"]
    answers = first.by_text("zebra", k=20), first.by_image(pairs.images[3])
    monkeypatch.setattr(cache, "embed", lambda *_: pytest.fail("again"))
    second = app.Indexes(named, pairs)["max_triplet"]
    assert (second.by_text("zebra", k=20), second.by_image(pairs.images[3])) == answers


@pytest.mark.filterwarnings("ignore:1 of 100 images could not be read")
def test_a_photo_that_cannot_be_read_is_left_out_of_the_page(runs, tmp_path, monkeypatch):
    pairs = load_pairs("scenes", split="test", size=100, progress=False)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    photos = replace(pairs, name="photos", images=[broken, *pairs.images[1:]])
    monkeypatch.setattr(app, "load_pairs", lambda *_, **__: photos)
    settings = {"data": "photos", "root": "", "split": "test"}
    monkeypatch.setenv(app.SETTING, json.dumps({**settings, "runs": {"simclr": str(runs[0])}}))
    explorer, weights = app.page().children[1::2]
    assert "99 pictures" in explorer.results.value
    assert weights.captions[0] == pairs.captions_of(1)[0]


def test_photos_of_ones_own_are_indexed_and_shown(runs, launched, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MMRET_CACHE", str(tmp_path / "cache"))
    album = put(tmp_path / "my album" / "a.png").parent
    put(album / "2024" / "b.png", (9, 200, 9))
    main(["app", str(runs[0]), "--photos", str(album), "--no-browser"])
    assert "2 added, 0 changed, 0 removed" in capsys.readouterr().out
    heading, explorer = app.page().children
    assert "find the photo" in heading.value and "2 pictures." in explorer.results.value
    put(album / "c.png", (9, 9, 200))
    main(["app", str(runs[0]), "--photos", str(album), "--no-browser"])
    assert "1 added, 0 changed, 0 removed" in capsys.readouterr().out
    [entry] = list_cache()
    assert entry.kind == "photo index" and entry.made_from == f"3 photos in {album}"
    assert entry.path.name.startswith("my-album-")
    with pytest.raises(SystemExit):
        main(["app", "--photos", str(album), "--data", "coco"])
    assert "leave out --data" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["app", "--photos", str(tmp_path / "none")])
    assert "none does not exist" in capsys.readouterr().err and len(launched) == 2


def test_the_album_is_offered_beside_the_runs(runs, launched, monkeypatch, tmp_path, capsys):
    """Real photographs first; the runs' page is built when it is chosen."""
    pocket = types.ModuleType("mmret_lib.encoders.pocket")
    pocket.pocket_model = lambda: load_run(runs[0])[0]
    monkeypatch.setitem(sys.modules, "mmret_lib.encoders.pocket", pocket)
    serve(runs, data="scenes", root=None, split="test", album=True, browser=False)
    assert "the album: 156 photos" in capsys.readouterr().out
    field, shown = app.page().children
    heading, explorer = shown.children[0].children
    assert "which the model was not trained on" in heading.value and len(explorer.hits) == 5
    assert explorer.hits[0].captions and "flic.kr" in explorer.results.value
    field.value = field.options[1]
    assert len(shown.children[0].children) == 4
    field.value = field.options[0]
    assert shown.children[0].children[1] is explorer, "it is not built again"
