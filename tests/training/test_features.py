"""Training on kept features: the same as on pixels, resumed exactly, refused where it is wrong."""

import dataclasses

import numpy as np
import pytest
import torch
from interrupted import CONFIG, assert_same, fit_and_lose, weights

from mmret_lib.encoders.features import keep_features
from mmret_lib.files.errors import DataError
from mmret_lib.search import SearchIndex
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model
from mmret_lib.training.run import load_run, train_run
from mmret_lib.training.second_views import SecondViews
from mmret_lib.training.validation import validate

HEADS = dataclasses.replace(CONFIG, train="projections", augment="none")


def model_of(world, loss="simclr"):
    return build_model(loss, world.pairs, seed=0)


def trainer(data, folder=None, loss="simclr", config=HEADS, model=None, **options):
    model = model or model_of(data, loss)
    return Trainer(model, build_loss(loss), data, config, folder=folder, progress=False, **options)


def losses_of(trainer):
    """Train, and return the loss of each step."""
    losses, step = [], trainer.train_step

    def noted(batch):
        losses.append(step(batch))
        return losses[-1]

    trainer.train_step = noted
    trainer.fit()
    return torch.stack(losses)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sum_triplet", "max_triplet", "simclr", "barlow_twins"])
@pytest.mark.parametrize("chunk_size", [0, 8])
def test_features_train_as_pixels_do(splits, loss, chunk_size):
    world, val = splits
    config = dataclasses.replace(HEADS, validate=True, chunk_size=chunk_size)
    on_pixels = trainer(world, loss=loss, config=config, validation=val)
    model = model_of(world, loss)
    features = keep_features(model, world, progress=False)
    of_val = keep_features(model, val, progress=False)
    on_features = trainer(features, loss=loss, config=config, model=model, validation=of_val)
    expected, found = losses_of(on_pixels), losses_of(on_features)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    close = {"rtol": 1e-4, "atol": 1e-5}
    one, other = on_pixels.model, on_features.model
    torch.testing.assert_close(other.encode_images(val), one.encode_images(val), **close)
    torch.testing.assert_close(other.encode_images(of_val), one.encode_images(val), **close)
    captions = val.pairs.captions
    torch.testing.assert_close(other.encode_texts(captions), one.encode_texts(captions), **close)
    report, same = validate(one, val).as_dict(), validate(other, of_val).as_dict()
    assert report == pytest.approx(same, abs=2)  # a near tie may fall the other way


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the (image|text) backbone has random weights")
def test_a_large_residual_network_in_float32(world):
    """ResNet-18 at 64 pixels, as torchvision builds it: with BatchNorms that must stay at rest."""
    options = {"image_backbone": "resnet18", "image_size": 64, "image_weights": None}
    options |= {"text_weights": None, "seed": 1}
    small = world.pairs.subset(range(32))
    config = dataclasses.replace(HEADS, epochs=1)
    losses = []
    for kept in (False, True):
        model = build_model("simclr", small, **options)
        data = keep_features(model, small, progress=False) if kept else small
        losses.append(losses_of(trainer(data, config=config, model=model)))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_resumed_it_ends_the_same_to_the_last_bit(world, tmp_path, views):
    def one(folder=None):
        model = model_of(world)
        features = keep_features(model, world, views=views, progress=False)
        return trainer(features, folder, model=model)

    undisturbed = one()
    undisturbed.fit()
    fit_and_lose(one(tmp_path), 5)
    again = one(tmp_path)
    again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def test_a_training_on_other_features_is_not_resumed(world, tmp_path):
    model = model_of(world)
    features = keep_features(model, world, progress=False)
    fit_and_lose(trainer(features, tmp_path, model=model), 2)
    for other, words in (
        (keep_features(model, world, dtype="float16", progress=False), "float16"),
        (keep_features(model, world, views=1, progress=False), "1 views"),
        (keep_features(model, world, sides=["image"], progress=False), "text features: was"),
        (world, "pixels: was , is now 64"),
    ):
        with pytest.raises(DataError, match=words):
            trainer(other, tmp_path, model=model_of(world)).fit(resume=True)


def test_an_epoch_draws_one_augmented_view_of_each_image(world):
    model = model_of(world)
    features = keep_features(model, world, views=3, augment="crop", progress=False)
    loader = trainer(features, model=model).loader
    seen = set()
    for epoch in range(4):
        for batch, again in zip(loader.epoch(epoch), loader.epoch(epoch), strict=True):
            assert torch.equal(batch.images, again.images)
            for image, values in zip(batch.image_ids.tolist(), batch.images, strict=True):
                of_image = features.image.values[features.image_rows[image]]
                (view,) = np.flatnonzero((of_image == values.numpy()).all(axis=1))
                seen.add(int(view))
    assert seen == {1, 2, 3}


def test_locked_image_tuning_tokenises_its_captions(world):
    model = model_of(world)
    features = keep_features(model, world, sides=["image"], progress=False)
    config = TrainConfig(
        **{**dataclasses.asdict(HEADS), "train_image": "projection", "train_text": "whole"}
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned = trainer(features, config=config, model=model)
    assert set(next(iter(tuned.loader.epoch(0))).tokens) == {"input_ids", "attention_mask"}
    tuned.fit()
    moved = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert any(name.startswith("text.backbone") for name in moved)
    assert not any(name.startswith("image.backbone") for name in moved)


def test_locked_text_tuning_reads_pixels(world):
    model = model_of(world)
    features = keep_features(model, world, sides=["text"], progress=False)
    config = dataclasses.replace(HEADS, train_image="whole", train_text="projection")
    tuned = trainer(features, config=config, model=model)
    batch = next(iter(tuned.loader.epoch(0)))
    assert batch.images.dtype == torch.uint8 and set(batch.tokens) == {"features"}
    tuned.fit()


def test_a_backbone_cannot_train_on_its_features(world):
    model = model_of(world)
    features = keep_features(model, world, progress=False)
    for changes, side in (({"train": "all"}, "image"), ({"train": "text"}, "text")):
        config = dataclasses.replace(HEADS, **changes)
        with pytest.raises(DataError, match=f"the {side} backbone cannot be trained on its kept"):
            trainer(features, config=config, model=model)
    with pytest.raises(DataError, match="second views are made of pixels"):
        SecondViews(model, features)


@pytest.mark.filterwarnings("ignore:the .* has random weights")
def test_features_of_other_weights_are_refused_everywhere(world):
    features = keep_features(model_of(world), world, progress=False)
    other = build_model("simclr", world.pairs, image_weights=None, text_weights=None, seed=1)
    for use in (
        lambda: trainer(features, model=other),
        lambda: SearchIndex.build(other, features, progress=False),
        lambda: keep_features(other, features),
    ):
        with pytest.raises(DataError, match="not those of this model's image backbone 'mini'"):
            use()
    model = model_of(world)
    model.text = other.text
    with pytest.raises(DataError, match="not those of this model's text backbone 'mini'"):
        trainer(features, model=model)


def test_heads_train_on_one_thread_and_leave_the_number_as_it_was(world):
    model = model_of(world)
    features = keep_features(model, world, progress=False)
    for data, expected in ((features, {1}), (world, {2})):
        seen = set()
        heads = trainer(data, model=model if data is features else None)
        heads.on_epoch = lambda history, seen=seen: seen.add(torch.get_num_threads())
        torch.set_num_threads(2)
        try:
            heads.fit()
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(1)
        assert seen == expected


@pytest.mark.slow
def test_a_run_of_projections_keeps_features_by_itself(splits, tmp_path, capsys, monkeypatch):
    world, val = splits
    config = dataclasses.replace(HEADS, augment="shift", validate=True)
    options = {"validation": val, "evaluate_on": {"val": val}}

    def run(name, config, **more):
        model = model_of(world)
        return train_run(tmp_path / name, model, build_loss("simclr"), world, config, **more)

    kept = run("kept", config, **options)
    assert "their features are kept, of the photos as they are" in capsys.readouterr().out
    assert load_run(tmp_path / "kept")[1].config["augment"] == "none"
    plain = run(
        "plain",
        dataclasses.replace(config, kept_features=False, augment="none"),
        **options,
        progress=False,
    )
    assert capsys.readouterr().out == ""
    np.testing.assert_allclose(
        kept.history.column("loss"), plain.history.column("loss"), rtol=1e-5, atol=1e-5
    )
    assert kept.reports["val"].as_dict() == pytest.approx(plain.reports["val"].as_dict(), abs=4)
    # Run once more, the backbones have nothing left to do.
    monkeypatch.setattr("mmret_lib.encoders.image.ImageEncoder.extract_features", None)
    monkeypatch.setattr("mmret_lib.encoders.text.TextEncoder.extract_features", None)
    run("again", config, **options, progress=False)


@pytest.mark.slow
def test_views_are_drawn_in_a_run(world, tmp_path, capsys):
    config = dataclasses.replace(HEADS, augment="crop", views=2)
    run = train_run(tmp_path, model_of(world), build_loss("simclr"), world, config)
    assert "of the photos in 2 augmented views (crop) each" in capsys.readouterr().out
    assert run.record.config["augment"] == "crop" and run.record.config["views"] == 2


def test_an_index_of_features_is_that_of_pixels(splits):
    _, val = splits
    model = model_of(val)
    features = keep_features(model, val, progress=False)
    one = SearchIndex.build(model, val, progress=False)
    other = SearchIndex.build(model, features, progress=False)
    torch.testing.assert_close(other.image_emb, one.image_emb, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.text_emb, one.text_emb, rtol=1e-4, atol=1e-5)
    grown = SearchIndex.build(model, features.subset(range(20)), progress=False)
    with pytest.warns(UserWarning, match="20 of 32 images are in the index already"):
        grown.add(features, progress=False)
    torch.testing.assert_close(grown.image_emb, other.image_emb)
    torch.testing.assert_close(grown.text_emb, other.text_emb)
    for _ in range(2):  # embedded, and read from the cache
        cached = SearchIndex.build(model, features, cached=True, progress=False)
        torch.testing.assert_close(cached.image_emb, other.image_emb)
