"""A CLIP in the place of the course's own model: transformers' numbers, and trainable."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hub_server import HubServer
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from mmret_lib.cli import main
from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder, ImageEncoder, load_model, train_wordpiece
from mmret_lib.encoders.clip import ClipEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.losses import SimCLR
from mmret_lib.search.embed import fingerprint
from mmret_lib.training import TrainConfig, Trainer, load_run, train_run, validate

CAPTIONS = ["A red bus on the street.", "Two zebras", "A baby elephant plays in the water."]
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def write_clip(folder: Path, **text_settings: int) -> Path:
    """A small CLIP with random weights, as transformers writes it."""
    tokenizer = train_wordpiece(CAPTIONS)
    text = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "pad_token_id": 0,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        **text_settings,
    }
    vision = {**SIZES, "image_size": 64, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


def test_embeddings_and_loss_are_those_of_transformers(folder: Path) -> None:
    model = ClipEncoder.load(folder)
    assert isinstance(model, DualEncoder)
    assert model.dim == 8
    images = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8)
    image_emb, text_emb = model.encode_images(images), model.encode_texts(CAPTIONS)
    pixels = (images / 255 - model.image.mean) / model.image.std
    clip = CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = clip(pixel_values=pixels, **model.text.tokenize(CAPTIONS), return_loss=True)
    assert torch.allclose(F.normalize(image_emb), theirs.image_embeds, atol=1e-5)
    assert torch.allclose(F.normalize(text_emb), theirs.text_embeds, atol=1e-5)
    assert len({tuple(row.tolist()) for row in text_emb}) == 3
    ours = SimCLR(model.temperature, positive_in_denominator=True)(image_emb, text_emb)
    assert torch.allclose(ours, 2 * theirs.loss, atol=1e-4)


def test_the_trainer_trains_it_and_what_is_saved_comes_back(folder: Path, tmp_path: Path) -> None:
    data = pack(load_pairs("scenes", split="train", size=8, progress=False), 64, progress=False)
    model = ClipEncoder.load(folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainConfig(epochs=2, batch_size=4, warmup=0)
    Trainer(model, SimCLR(), data, config, validation=data, folder=tmp_path, progress=False).fit()
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert {"image.projection.weight", "text.projection.weight"} <= moved
    assert any("vision" in n or "image.backbone" in n for n in moved)
    assert not any(name.startswith("_clip") for name in before)  # nothing is there twice

    model.save(tmp_path / "saved")
    again = ClipEncoder.load(tmp_path / "saved")
    assert torch.allclose(again.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS), atol=1e-6)
    reports = [validate(one, data, allow_leak=True).as_dict() for one in (again, model)]
    assert reports[0] == reports[1]
    assert again.trained_on.tolist() == model.trained_on.tolist()
    assert set(data.hashes.tolist()) < set(model.trained_on.tolist())
    assert CLIPModel.from_pretrained(tmp_path / "saved").config.projection_dim == 8
    assert torch.equal(load_model(tmp_path / "best").image.mean, model.image.mean)


@pytest.mark.slow
def test_a_run_of_a_clip_is_evaluated_searched_and_indexed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """`train_run` takes any model; what reads a run folder once knew only the course's own."""
    photos = tmp_path / "photos"
    (photos / "Images").mkdir(parents=True)
    lines = ["image,caption"]
    for number in range(8):
        Image.new("RGB", (64, 64), (30 * number, 90, 200)).save(photos / "Images" / f"{number}.jpg")
        lines += [f"{number}.jpg,A red bus number {number} on the street."] * 5
    (photos / "captions.txt").write_text("\n".join(lines))
    for split, numbers in {"train": range(4), "dev": [], "test": range(4, 8)}.items():
        names = "".join(f"{number}.jpg\n" for number in numbers)
        (photos / f"Flickr_8k.{split}Images.txt").write_text(names)
    data = pack(load_pairs("flickr8k", root=photos, split="train"), 64, progress=False)
    model, config = ClipEncoder.load(folder), TrainConfig(epochs=1, batch_size=4, warmup=0)
    train_run(tmp_path / "run", model, SimCLR(), data, config, root=photos, progress=False)
    again, run = load_run(tmp_path / "run")
    assert isinstance(again, ClipEncoder)
    assert run.loss == "simclr"
    assert torch.equal(again.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))
    assert torch.equal(again.encode_images(data), model.encode_images(data))

    monkeypatch.chdir(tmp_path)
    for command, said in {
        "evaluate run": "pool: 4 images, 20 captions",
        "search run bus": "4 images searched",
        "search run photos/Images/1.jpg": "4 images searched",
        "index run kept": "kept holds 4 images, 20 captions",
        "search run bus --index kept": "4 images searched",
    }.items():
        main(command.split())
        assert said in capsys.readouterr().out, command


def test_a_tokenizer_without_clips_end_token_is_refused(tmp_path: Path) -> None:
    # 4 is [MASK], which no text holds: every text would be described by its first token
    with pytest.raises(DataError, match="does not end in CLIP's end token 4"):
        ClipEncoder.load(write_clip(tmp_path / "clip", eos_token_id=4))


def test_other_models_pickles_and_empty_folders_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MissingFile, match=r"lacks config\.json"):
        ClipEncoder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(MissingFile, match=r"lacks model\.safetensors"):
        ClipEncoder.load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="pickle"):
        ClipEncoder.load(tmp_path)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "distilbert"}')
    (other / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match="of type 'distilbert'"):
        ClipEncoder.load(other)
    damaged = write_clip(tmp_path / "damaged")
    whole = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read .* cut short"):
        ClipEncoder.load(damaged)
    (damaged / "config.json").write_text("{")
    with pytest.raises(DataError, match="cannot be used as a CLIP"):
        ClipEncoder.load(damaged)


def test_colours_come_from_the_checkpoint_where_it_says_them(tmp_path: Path) -> None:
    place = write_clip(tmp_path / "clip")
    (place / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.25, 0.5]}')
    model = ClipEncoder.load(place)
    assert model.image.mean.flatten().tolist() == [0.5, 0.25, 0.5]
    model.save(tmp_path / "saved")
    again = ClipEncoder.load(tmp_path / "saved")
    assert again.image.mean.flatten().tolist() == [0.5, 0.25, 0.5]
    # An index made with other colours must not be taken for one of this model.
    again.image.mean.mul_(2)
    assert fingerprint(again) != fingerprint(model)
    (place / "preprocessor_config.json").write_text('{"image_mean": 0.5}')
    with pytest.raises(DataError, match=r"preprocessor_config\.json cannot be read"):
        ClipEncoder.load(place)


def test_a_clip_from_the_hub_comes_with_its_colours(hub: HubServer) -> None:
    """They were read where they lay in the folder, but never fetched into it."""
    place = write_clip(hub.root / "somebody" / "clip")
    (place / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.25, 0.5]}')
    model = ClipEncoder.load("somebody/clip")
    assert model.image.mean.flatten().tolist() == [0.5, 0.25, 0.5]


def test_saving_replaces_a_clip_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    model = ClipEncoder.load(folder)
    model.save(tmp_path / "clip")
    model.save(tmp_path / "clip")
    own = DualEncoder.from_names(image_weights=None, text_weights=None, captions=CAPTIONS)
    own.save(tmp_path / "own")
    with pytest.raises(DataError, match=r"holds model\.json"):
        model.save(tmp_path / "own")
    with pytest.raises(DataError, match=r"holds config\.json"):
        own.save(tmp_path / "clip")
    assert isinstance(load_model(tmp_path / "clip"), ClipEncoder)
    assert not isinstance(load_model(tmp_path / "own"), ClipEncoder)


def test_a_branch_that_could_not_be_opened_again_is_refused(folder: Path, tmp_path: Path) -> None:
    """It was saved without a word, and `load` gave an error, or a plain branch in its place."""
    clip = ClipEncoder.load(folder)
    for image, text, name in (
        (clip.image, clip.text, "ClipImage"),
        (ImageEncoder(weights=None, dim=8), clip.text, "ClipText"),
    ):
        with pytest.raises(DataError, match=f"a {name} cannot be saved as part of a DualEncoder"):
            DualEncoder(image, text).save(tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()
