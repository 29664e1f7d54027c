"""A small collection to search, and figures that may change nothing global."""

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.search import SearchIndex


@pytest.fixture
def nothing_global_changes():
    before, open_before = dict(mpl.rcParams), plt.get_fignums()
    yield
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == open_before


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Pairs:
    root = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", root=root, split="test", size=30, progress=False)


def index_of(pairs: Pairs, seed: int) -> SearchIndex:
    torch.manual_seed(seed)
    model = DualEncoder.from_names(
        image_weights=None, text_weights=None, captions=pairs.captions
    ).eval()
    return SearchIndex.build(model, pairs, progress=False)


@pytest.fixture(scope="session")
def indexes(pairs) -> dict[str, SearchIndex]:
    return {"simclr": index_of(pairs, 0), "max_triplet": index_of(pairs, 1)}


@pytest.fixture(scope="session")
def index(indexes) -> SearchIndex:
    return indexes["simclr"]


@pytest.fixture(scope="session")
def licensed(index) -> SearchIndex:
    """The same collection with a licence for every picture but the first."""
    info = [{"license_name": "CC BY-SA 2.0", "photo_url": "https://flic.kr/p/eVvoV3"}] * 30
    pairs = replace(index.pairs, image_info=[{}, *info[1:]])
    return SearchIndex(index.model, pairs, index.image_emb, index.text_emb)
