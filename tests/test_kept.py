"""What an earlier version wrote is still read: a run and two indexes of before the ten rooms.

tests/kept/step5.tar.xz was written by commit d4978a0: `run` by `save_run`, `index` by
`SearchIndex.rebuild("hnsw")` in its folder, `index-hnsw` by `save`; `answers.json` holds what the
exact search answered then. Its weights are mostly zeros so that the file is small.
"""

import json
import tarfile
from pathlib import Path

import pytest

from mmret_lib.data.pixel_hash import UNKNOWN
from mmret_lib.search import SearchIndex
from mmret_lib.training import load_run

pytestmark = pytest.mark.slow

KEPT = Path(__file__).with_name("kept") / "step5.tar.xz"


@pytest.fixture(scope="module")
def step5(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder / "step5"


def test_an_earlier_run_opens_with_its_record(step5):
    model, run = load_run(step5 / "run")
    assert run.loss == "simclr" and run.data["name"] == "scenes" and run.config["epochs"] == 1
    assert run.history[0]["t2i_r1"] == 10.0
    assert model.dim == 128 and not model.training
    assert model.trained_on.tolist() == [UNKNOWN]  # it kept no hashes of its scenes


@pytest.mark.parametrize("name", ["index", "index-hnsw"])
def test_an_earlier_index_opens_and_answers_as_it_did(step5, name):
    model, _ = load_run(step5 / "run")
    with SearchIndex.open(step5 / name, model) as index:
        assert index.backend == "hnsw" and len(index) == 4
        for query, answers in json.loads((step5 / "answers.json").read_text()).items():
            found = [(hit.image_index, round(hit.score, 4)) for hit in index.by_text(query, k=4)]
            assert found == [(image, round(score, 4)) for image, score in answers]
