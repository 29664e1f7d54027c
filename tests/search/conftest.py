"""Fixtures of the search tests: a small world, an untrained model, and indexes in folders."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from indexes import MILVUS, new_model

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.search import SearchIndex
from mmret_lib.training import Run, TrainConfig, save_run

# "flat" is a FAISS index like the other two; test_vectors and the indexes in memory have it too.
KEPT = ["exact", "hnsw", pytest.param("ivf", marks=pytest.mark.slow), MILVUS]

SERVER = """
import sys, time
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, db, port = start_server_in_thread(sys.argv[1], host="127.0.0.1", port=0)
print(port, flush=True)
sys.stdin.read()
server.stop(0)
db.close()
"""


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Pairs:
    root = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", root=root, split="test", size=60, progress=False)


@pytest.fixture(scope="session")
def model(pairs) -> DualEncoder:
    return new_model(captions=pairs.captions)


@pytest.fixture(scope="session")
def whole(model, pairs) -> SearchIndex:
    """All 60 images under the exact search."""
    return SearchIndex.build(model, pairs, progress=False)


@pytest.fixture(scope="session", params=KEPT)
def kept(request, tmp_path_factory, model, pairs) -> Path:
    """A folder with the first 40 images, for each backend; to be copied."""
    folder = tmp_path_factory.mktemp("kept") / "index"
    first = pairs.subset(range(40))
    SearchIndex.build(model, first, backend=request.param, folder=folder, progress=False).close()
    return folder


@pytest.fixture
def folder(kept, tmp_path) -> Path:
    return shutil.copytree(kept, tmp_path / "index")


@pytest.fixture(scope="session")
def run(tmp_path_factory, model, pairs) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    data = {"name": "scenes", "root": str(pairs.images[0].parents[2]), "split": "test"}
    save_run(
        folder,
        model,
        Run("simclr", data, vars(TrainConfig()), [{"epoch": 1, "loss": 1.0}]),
    )
    return folder


@pytest.fixture
def small(monkeypatch, pairs):
    """The built-in world as 40 images, whatever split is asked for."""
    asked = []

    def load(name, **options):
        asked.append((name, options.get("split")))
        return pairs.subset(range(40) if options.get("split") == "test" else range(30, 60))

    monkeypatch.setattr("mmret_lib.data.load_pairs", load)
    return asked


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of a Milvus that runs in another process, as a cluster does."""
    command = [sys.executable, "-c", SERVER, str(tmp_path_factory.mktemp("cluster") / "data")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.communicate(timeout=60)
