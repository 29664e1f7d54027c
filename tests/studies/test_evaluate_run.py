"""What `mmret evaluate` prints and writes, asked for without a command line."""

import json
from pathlib import Path

import pandas as pd
import pytest
from torch import nn

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.metrics import evaluate
from mmret_lib.studies.evaluate_run import evaluate_run
from mmret_lib.training import Run, TrainConfig, save_run


def save(folder: Path, model: DualEncoder) -> Path:
    save_run(folder, model, Run("simclr", {}, vars(TrainConfig()), history=[]))
    return folder


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("scenes", split="test", size=12, progress=False)


@pytest.fixture
def model():
    return DualEncoder.from_names()


def test_figures_are_those_of_the_embeddings_and_are_written(pairs, model, tmp_path, capsys):
    other = save(tmp_path / "other", DualEncoder.from_names(text_weights=None, captions=["a bus"]))
    table, figures_file = tmp_path / "new" / "queries.csv", tmp_path / "figures.json"
    figures = evaluate_run(
        model, pairs, name="mine", against=other, table=table, json_file=figures_file
    )
    embeddings = (
        model.encode_images(pack(pairs, 64, progress=False)),
        model.encode_texts(pairs.captions),
    )
    expected = evaluate(*embeddings, pairs.owner).as_dict()
    assert {key: figures[key] for key in expected} == expected
    assert figures["against"]["rsum"]["one"] > 0
    assert json.loads(figures_file.read_text()) == figures
    assert len(pd.read_csv(table)) == 12 + 60
    out = capsys.readouterr().out
    for said in ("mine on scenes test:", "12 images, 60 captions", "95 % intervals", "the best"):
        assert said in out


def test_another_run_that_has_diverged_is_named(pairs, model, tmp_path):
    broken = DualEncoder.from_names()
    nn.init.constant_(broken.text.projection.weight, float("nan"))
    with pytest.raises(DataError, match=r"broken: text_emb row 0 is not finite"):
        evaluate_run(model, pairs, name="mine", against=save(tmp_path / "broken", broken))
    with pytest.raises(DataError, match='mine on scenes test: protocol "1k"'):
        evaluate_run(model, pairs, name="mine", protocol="1k")
