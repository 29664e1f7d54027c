"""FAISS: what is missing or wrong, and its threads beside torch's."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from indexes import mixture

from mmret_lib.files.errors import DataError
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex
from mmret_lib.search.vectors import Vectors

pytest.importorskip("faiss")


@pytest.mark.parametrize("kind", FAISS_KINDS)
def test_without_faiss_it_says_what_to_install(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DataError, match=r"FAISS, which is not .* pip install faiss-cpu"):
        Vectors.build(torch.from_numpy(mixture(50, 0)), kind)


@pytest.mark.parametrize("content", [b"", b"IxHNnonsense", b"\xff" * 1000])
def test_a_file_that_faiss_cannot_read_is_named(tmp_path, content):
    (tmp_path / "index.faiss").write_bytes(content)
    with pytest.raises(DataError, match=r"index\.faiss is no index that FAISS can read"):
        FaissIndex.read(tmp_path / "index.faiss", "hnsw", 64)


def test_an_index_of_another_kind_is_refused(tmp_path):
    index = Vectors.build(torch.from_numpy(mixture(50, 0)), "flat").index
    assert isinstance(index, FaissIndex)
    index.write(tmp_path / "index.faiss")
    assert len(FaissIndex.read(tmp_path / "index.faiss", "flat", 1)) == 50
    with pytest.raises(DataError, match="holds a IndexFlatIP, not a IndexHNSWFlat"):
        FaissIndex.read(tmp_path / "index.faiss", "hnsw", 64)


TOGETHER = """
import sys
for name in sys.argv[1:]:
    __import__(name)
import faiss, numpy as np
torch = sys.modules.get("torch")
faiss.omp_set_num_threads(2)
emb = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
exact, graph = faiss.IndexFlatL2(64), faiss.IndexHNSWFlat(64, 16)
for number in range(3):
    if torch:
        torch.set_num_threads(2)
        weight = torch.zeros(64, 64, requires_grad=True)
        (torch.from_numpy(emb) @ weight @ torch.from_numpy(emb).T).square().mean().backward()
    for index in (exact, graph):
        index.add(emb + 10 * number)
        found = index.search(emb, 1)[1][:, 0]
        print(int((found == np.arange(2000)).sum()))
"""


@pytest.mark.slow
def test_faiss_and_torch_run_threads_in_one_process():
    def found(*order: str) -> list[int]:
        command = [sys.executable, "-c", TOGETHER, *order]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.split()]

    alone = found("faiss")
    assert alone[::2] == [2000] * 3 and min(alone) > 1600
    for order in (("torch", "faiss"), ("faiss", "torch")):
        # Threads add to the graph in an order of their own, so that it differs by a few.
        np.testing.assert_allclose(found(*order), alone, atol=15)
