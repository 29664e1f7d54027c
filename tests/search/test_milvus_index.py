"""Milvus: a file of Milvus Lite, a cluster, and what a kill leaves in either."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from indexes import QUERY, assert_same, mixture, without

from mmret_lib.data import Pairs
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.search import SearchIndex
from mmret_lib.search.milvus_index import MilvusIndex, check_uri

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")


@pytest.mark.slow
def test_a_database_that_a_kill_left_odd_is_mended(tmp_path, model, whole, pairs):
    folder = tmp_path / "index"
    index = SearchIndex.build(model, pairs, backend="milvus", folder=folder, progress=False)
    database = index._collection.sides["image"].index
    database.add(np.arange(60, 64), index.image_emb.numpy(), np.arange(4))  # grown, not committed
    database.remove(np.arange(5, 8))
    index._collection.sides["text"].index.remove(np.arange(0, 100, 7))
    index.close()
    with SearchIndex.open(folder, model) as index:
        assert index._collection.sides["image"].index.count() == 60
        assert_same(index, whole)
    shutil.rmtree(folder / "milvus.db")
    with pytest.raises(DataError, match=r"has no collection .*mmret index RUN"):
        SearchIndex.open(folder, model)


@pytest.mark.slow
def test_the_same_code_asks_a_cluster(tmp_path, cluster, model, whole, pairs):
    def build(some: Pairs) -> SearchIndex:
        return SearchIndex.build(
            model,
            some,
            backend="milvus",
            folder=tmp_path / "index",
            uri=cluster,
            token="user:secret",
            progress=False,
        )

    from pymilvus import MilvusClient

    with build(pairs.subset(range(40))) as index:
        index.add(pairs.subset(range(40, 60)), progress=False)
        # Any number may read a cluster at once; each goes on with what it opened.
        with SearchIndex.open(tmp_path / "index", model) as reader:
            assert_same(reader, whole)
            index.remove([0, 1])
            assert_same(index, without(whole, {0, 1}))
            assert len(reader.by_text(QUERY, k=10)) == 10
            index.rebuild()
            assert_same(index, without(whole, {0, 1}))
    other = tmp_path / "other"
    with SearchIndex.build(
        model, pairs, backend="milvus", folder=other, uri=cluster, progress=False
    ) as second:
        assert_same(second, whole)
        with build(pairs) as index:
            assert_same(index, whole)
        assert_same(second, whole)
    client = MilvusClient(cluster)
    assert len(client.list_collections()) == 4, "two of each folder, none left behind"
    client.close()
    assert not (tmp_path / "index" / "milvus.db").exists()
    for path in (tmp_path / "index").rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes()


def test_a_cluster_that_is_gone_is_named(tmp_path, model, pairs):
    with pytest.raises(DataError, match=r"Milvus at http://127\.0\.0\.1:9 failed while connecting"):
        SearchIndex.build(
            model,
            pairs,
            backend="milvus",
            folder=tmp_path / "index",
            uri="http://127.0.0.1:9",
            progress=False,
        )
    with pytest.raises(MissingFile):
        SearchIndex.open(tmp_path / "index", model)


@pytest.mark.slow
def test_the_database_is_made_to_hold_what_it_should(tmp_path):
    emb, ids = mixture(300, 0), np.arange(300)
    index = MilvusIndex(str(tmp_path / "vectors.db"), None, "mmret_a_b_image")
    try:
        index.create(emb, ids, ids)
        index.remove(ids[:50])
        index.add(np.arange(1000, 1007), emb, np.arange(7))  # of a growth that was killed
        assert index.count() == 257
        right = ids[20:]
        index.reconcile(right, emb[20:], np.arange(280))
        assert index.count() == 280
        found = index.search(emb, 1)[:, 0]
        assert (found[20:] == right).mean() > 0.95 and (found[:20] >= 20).all()
        for name in ("mmret_a_old_image", "mmret_other_b_image", "somebodys"):
            index.client.create_collection(name, dimension=4)
        index.drop_others({"mmret_a_b_image"})
        assert sorted(index.client.list_collections()) == [
            "mmret_a_b_image",
            "mmret_other_b_image",
            "somebodys",
        ]
    finally:
        index.close()


OPEN = """
import sys
from mmret_lib.files.errors import DataError
from mmret_lib.search.milvus_index import MilvusIndex
try:
    index = MilvusIndex(sys.argv[1], None, "things")
    index.load()
    print(index.count())
    index.close()
except DataError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_file_belongs_to_one_process_until_it_is_closed(tmp_path):
    def elsewhere() -> str:
        command = [sys.executable, "-c", OPEN, str(tmp_path / "vectors.db")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr
        return done.stdout

    emb = mixture(20, 0)
    first = MilvusIndex(str(tmp_path / "vectors.db"), None, "things")
    first.create(emb, np.arange(20), np.arange(20))
    second = MilvusIndex(str(tmp_path / "vectors.db"), None, "things")
    first.close()
    first.close()
    assert second.count() == 20
    assert "another process may have the file open" in elsewhere()
    second.close()
    assert elsewhere() == "20\n"


@pytest.mark.parametrize("uri", ["vectors.db", "http://127.0.0.1:19530"])
def test_without_pymilvus_it_says_what_to_install(monkeypatch, tmp_path, uri):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(
        DataError, match=r'needs pymilvus, .* pip install "pymilvus\[milvus_lite\]"'
    ):
        MilvusIndex(uri, None, "name")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("vectors", "ends in"),
        ("localhost:19530", "ends in"),
        ("ftp://host:1", "no address"),
        ("http://", "no address"),
        ("http://[::1", "no address"),
        ("https://user:secret@host:19530", "token"),
        ("https://user@host:19530", "token"),
        ("\x1b[31mred", "␛"),
    ],
)
def test_an_address_that_is_none_is_refused(uri, said):
    with pytest.raises(DataError, match=said) as caught:
        check_uri(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:19530", "https://host", "folder/vectors.db"])
def test_an_address_is_taken_as_it_is(uri):
    check_uri(uri)


def test_a_database_that_does_not_answer_is_named():
    with pytest.raises(DataError, match=r"Milvus at http://127.0.0.1:9 failed while connecting"):
        MilvusIndex("http://127.0.0.1:9", None, "name")


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 4096])
def test_a_file_that_is_no_database_is_named(tmp_path, content):
    (tmp_path / "vectors.db").write_bytes(content)
    with pytest.raises(DataError, match=r"vectors\.db failed while connecting"):
        MilvusIndex(str(tmp_path / "vectors.db"), None, "name")
