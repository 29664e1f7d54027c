"""`mmret search` and `mmret index` as a user meets them."""

import warnings

import pytest
from indexes import MILVUS, QUERY
from PIL import Image

from mmret_lib import cli
from mmret_lib.search import cache

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")


def mmret(capsys, *arguments: object) -> str:
    with warnings.catch_warnings():
        cli.main(list(map(str, arguments)))
    return capsys.readouterr().out


@pytest.mark.slow
def test_an_index_is_made_grown_and_asked_on_the_command_line(
    capsys, tmp_path, run, small, whole, pairs
):
    folder = tmp_path / "index"
    said = mmret(capsys, "index", run, folder, "--backend", "hnsw")
    assert "40 images, 200 captions; hnsw search, recall@10 against exact: text→image" in said
    said = mmret(capsys, "index", run, folder, "--split", "val", "--add")
    assert "60 images, 300 captions; hnsw search" in said
    asked = len(small)
    said = mmret(capsys, "search", run, QUERY, "--index", folder, "--k", "3")
    assert len(small) == asked, "the collection is not read again"
    assert "60 images searched" in said and "recall@10" in said
    assert [line.split()[2] for line in said.splitlines() if line.lstrip()[0] in "123"] == [
        str(hit.image) for hit in whole.by_text(QUERY, k=3)
    ]
    said = mmret(capsys, "search", run, pairs.images[2], "--index", folder, "--k", "1")
    assert whole.by_image(pairs.images[2], k=1)[0].caption in said


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["exact", "ivf", MILVUS])
def test_search_makes_the_index_that_is_not_there(capsys, tmp_path, run, small, backend):
    arguments = ("search", run, QUERY, "--index", tmp_path / "index", "--backend", backend)
    first, second = mmret(capsys, *arguments), mmret(capsys, *arguments)
    assert [line for line in first.splitlines() if ".png" in line] == [
        line for line in second.splitlines() if ".png" in line
    ]
    assert ("recall@10" in first) == (backend != "exact") and len(small) == 1
    said = mmret(capsys, "search", run, QUERY, "--backend", backend)
    assert said.count(".png") == 5


@pytest.mark.slow
def test_search_takes_a_database_by_its_address(capsys, tmp_path, run, small, cluster):
    for where in (tmp_path / "vectors.db", cluster):
        said = mmret(capsys, "search", run, QUERY, "--milvus", where)
        assert "milvus search, recall@10" in said and said.count(".png") == 5


@pytest.mark.slow
def test_the_command_line_says_what_is_wrong(capsys, tmp_path, run, small):
    folder = tmp_path / "index"
    mmret(capsys, "index", run, folder)
    for arguments, said in (
        (("search", run, QUERY, "--index", folder, "--backend", "ivf"), "searched by exact"),
        (("search", run, QUERY, "--index", folder, "--split", "val"), "its own collection"),
        (("index", run, folder, "--add", "--backend", "ivf"), "leave out --backend and --milvus"),
        (("index", run, tmp_path / "none", "--add"), "no finished search index"),
        (("search", run, QUERY, "--milvus", "nonsense"), "no address of Milvus"),
        (("index", run, tmp_path / "b", "--milvus", "http://a:b@host:1"), "MILVUS_TOKEN"),
    ):
        with pytest.raises(SystemExit):
            mmret(capsys, *arguments)
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


@pytest.mark.slow
def test_a_search_keeps_what_it_embedded(capsys, tmp_path, monkeypatch, run, small, pairs):
    """The first search of a kind embeds one side, the second nothing."""
    monkeypatch.setenv("MMRET_CACHE", str(tmp_path / "cache"))
    photo = tmp_path / "photo.tif"
    Image.open(pairs.images[2]).save(photo)
    embedded, embed = [], cache.embed
    monkeypatch.setattr(cache, "embed", lambda *args: (embedded.append(args[2]), embed(*args)))
    for query, side in ((QUERY, "image"), (photo, "text")):
        first = mmret(capsys, "search", run, query, "--k", 2)
        assert embedded == [side]
        assert mmret(capsys, "search", run, query, "--k", 2) == first
        assert embedded == [side]
        embedded.clear()
    page = tmp_path / "page.html"
    mmret(capsys, "search", run, photo, "--k", 2, "--out", page)
    assert page.read_text().count("<img") == 3, "the query and the pictures of two captions"


@pytest.mark.parametrize("query", ["missing.tif", "no/such"])
def test_a_wrong_path_is_told_before_the_run_is_opened(capsys, query):
    with pytest.raises(SystemExit):
        mmret(capsys, "search", "no-such-run", query)
    assert f"there is no file {query}" in capsys.readouterr().err
