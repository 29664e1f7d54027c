"""The projections of the pocket model: trained on the album, read back as they were written."""

import numpy as np
import pytest
import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.features import keep_features
from mmret_lib.encoders.pocket import PROJECTIONS, pocket_model, projections
from mmret_lib.encoders.weights import read_safetensors
from mmret_lib.files.errors import MissingFile
from mmret_lib.files.places import shipped
from mmret_lib.search import SearchIndex
from mmret_lib.training.leak import find_leak
from mmret_lib.training.pocket_heads import train_heads


@pytest.mark.slow
def test_the_number_of_epochs_is_chosen_and_the_projections_are_written(tmp_path):
    torch.manual_seed(0)
    model = DualEncoder.from_names("pocket", "pocket", "mini", "mini")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figures = train_heads(tmp_path / "heads", model, epochs=(1, 3), seeds=(0,))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    sums = figures["val_rsum"]
    assert figures["epochs"] == (3 if sums["3"] > sums["1"] else 1)
    assert figures["test"]["images"] == 156 and figures["val"]["images"] == 150
    kept = keep_features(model, load_pairs("album", split="train"), sides=["image"])
    trained_on = np.load(tmp_path / "heads" / "trained_on.npy", allow_pickle=False)
    assert len(trained_on) == 1883 and trained_on.tolist() == sorted(kept.hashes.tolist())
    assert trained_on.tolist() == np.load(shipped("pocket/heads/trained_on.npy")).tolist()
    written = read_safetensors(tmp_path / "heads" / "projections.safetensors")
    assert {name: (value.shape, value.dtype) for name, value in written.items()} == {
        name: (value.shape, torch.float16) for name, value in projections(model).items()
    }


def test_without_the_shipped_weights_the_message_says_where_they_would_be(monkeypatch, tmp_path):
    monkeypatch.setattr("mmret_lib.files.places.PACKAGE", tmp_path / "mmret_lib")
    with pytest.raises(MissingFile, match=r"pocket/heads/projections.safetensors comes with mmret"):
        pocket_model()


@pytest.mark.slow
def test_the_pocket_model_finds_the_album_s_photos_by_a_sentence():
    try:
        written = read_safetensors(shipped(PROJECTIONS))
    except MissingFile as error:
        pytest.skip(str(error))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model = pocket_model()
    assert torch.equal(torch.random.get_rng_state(), before) and not model.training
    assert all(torch.equal(value, written[name]) for name, value in projections(model).items())
    pairs = load_pairs("album")
    assert len(model.trained_on) == 1883
    assert find_leak(model, pack(pairs, 256, progress=False)).text == ""
    index = SearchIndex.build(model, pairs, progress=False)
    for query, word in (
        ("Baby elephant plays in the water", "elephant"),
        ("Grazing zebra", "zebra"),
        ("Red bus on the street", "bus"),
        ("a plate of food on a table", "plate"),
        ("people playing tennis", "tennis"),
    ):
        found = " ".join(index.by_text(query, k=1)[0].captions).lower()
        assert word in found, query
