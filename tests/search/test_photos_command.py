"""`mmret index --photos` and a search of its index, as a user meets them."""

import json
import sys
import types
import warnings
from urllib.parse import unquote_to_bytes

import pytest
from hostile import Markup
from own_photos import NO_UTF8, ODD_NAMES, put, put_hostile

from mmret_lib import cli


@pytest.fixture
def mmret(capsys, monkeypatch, model):
    """The command; the tests' own small model is in the place of the pocket model."""
    pocket = types.ModuleType("mmret_lib.encoders.pocket")
    pocket.pocket_model = lambda: model
    monkeypatch.setitem(sys.modules, "mmret_lib.encoders.pocket", pocket)
    monkeypatch.setenv("TQDM_DISABLE", "1")

    def mmret(*arguments: object, fails: bool = False) -> str:
        with warnings.catch_warnings():
            if not fails:
                cli.main(list(map(str, arguments)))
                return capsys.readouterr().out
            with pytest.raises(SystemExit):
                cli.main(list(map(str, arguments)))
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    return mmret


@pytest.fixture
def album(tmp_path, monkeypatch):
    put_hostile(tmp_path / "album")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "album"


def test_photos_are_indexed_and_found_without_a_run(mmret, album):
    said = mmret("index", "--photos", album, "album.idx")
    assert "11 photos found; left out:" in said and "4 of 11 photos cannot be read" in said
    assert "7 added, 0 changed, 0 removed" in said
    assert 'mmret search "red bus" --index album.idx' in said
    assert "0 added, 0 changed, 0 removed" in mmret("index", "album.idx", "--photos", album)
    said = mmret("search", "red bus", "--index", "album.idx", "--k", 99)
    assert "pocket model on photos album: 7 images searched" in said
    assert len(said.splitlines()) == 8, "a line break in a name breaks no line"
    assert "two\u240alines.jpg" in said and "🐘 & <b>.png" in said and "caf\ufffd" in said
    said = mmret("search", album / "a.jpg", "--index", "album.idx", "--k", 1)
    assert f"1   1.000  {album / 'a.jpg'}" in said


def test_answers_are_written_as_json_and_as_a_page(mmret, album):
    mmret("index", "--photos", album, "album.idx")
    mmret(
        "search", "red bus", "--index", "album.idx", "--k", 9, "--json", "a.json", "--out", "a.html"
    )
    record = json.loads((album.parent / "a.json").read_bytes().decode("utf-8"))
    assert record["query"] == "red bus" and record["query_is"] == "text"
    assert record["images"] == 7 and [hit["rank"] for hit in record["hits"]] == list(range(1, 8))
    scores = [hit["score"] for hit in record["hits"]]
    assert scores == sorted(scores, reverse=True)
    paths = {hit["path"] for hit in record["hits"]}
    assert {str(album / "odd" / name) for name in ODD_NAMES} < paths
    addresses = {unquote_to_bytes(hit["address"]) for hit in record["hits"]}
    assert b"file://" + bytes(album / "odd" / NO_UTF8) in addresses
    page = Markup((album.parent / "a.html").read_text(encoding="utf-8"))
    assert sum(name == "img" for name, _ in page.elements) == 7
    assert "Under each picture stands the place of its file" in page.said
    mmret("search", album / "a.jpg", "--index", "album.idx", "--json", "b.json", "--k", 1)
    record = json.loads((album.parent / "b.json").read_text(encoding="utf-8"))
    assert record["query"] == str(album / "a.jpg") and record["query_is"] == "picture"


def test_json_of_a_data_set_has_its_captions(mmret, run, small, tmp_path, pairs):
    mmret("search", run, "A zebra.", "--k", 2, "--json", tmp_path / "a.json")
    hits = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["hits"]
    assert len(hits) == 2 and all(len(hit["captions"]) == 5 for hit in hits)
    assert "caption" not in hits[0]
    mmret("search", run, pairs.images[2], "--k", 2, "--json", tmp_path / "a.json")
    hits = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["hits"]
    assert all(hit["caption"] in hit["captions"] for hit in hits)


def test_a_run_indexes_photos_too(mmret, album, run):
    said = mmret("index", run, "album.idx", "--photos", album)
    assert f'mmret search {run} "red bus" --index album.idx' in said
    assert "7 images searched" in mmret("search", run, "red bus", "--index", "album.idx")


def test_an_unfinished_index_says_so(mmret, album, monkeypatch):
    from mmret_lib.search import photos

    write = photos._Update._write

    def half(self, leaving, paths, parts, left):
        write(self, leaving, paths[:3], [part[:3] for part in parts[:1]], 4)

    monkeypatch.setattr(photos._Update, "_write", half)
    mmret("index", "--photos", album, "album.idx")
    said = mmret("search", "red bus", "--index", "album.idx")
    assert "3 of 11 photos so far: run mmret index again" in said


def test_the_command_line_says_what_is_wrong(mmret, album, tmp_path):
    put(tmp_path / "other" / "a.jpg")
    mmret("index", "--photos", album, "album.idx")
    for arguments, said in (
        (("search",), "say what to look for"),
        (("search", "red bus"), "say where to search: --index FOLDER"),
        (("search", "red bus", "--index", "none"), "make one: mmret index --photos FOLDER none"),
        (("search", "no.jpg", "--index", "album.idx"), "there is no file no.jpg"),
        (("index",), "say where to keep the index"),
        (("index", "album.idx"), "say what to index: --photos FOLDER"),
        (("index", "--photos", "none", "album.idx"), "none does not exist"),
        (("index", "--photos", "other", "album.idx"), "is an index of the photos in"),
        (("index", "--photos", album, "album.idx", "--backend", "ivf"), "searched exactly"),
        (("index", "--photos", album, "album.idx", "--add"), "follows its folder"),
        (("search", "red bus", "--index", "album.idx", "--json", album), "writing the answers"),
    ):
        assert said in mmret(*arguments, fails=True)
