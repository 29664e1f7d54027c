"""The command line as a user meets it: small runs end to end, and errors without tracebacks."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from file_server import FileServer
from photo_folders import coco_content, put_coco
from PIL import Image
from transformers import DistilBertConfig

from mmret_lib.cli import main
from mmret_lib.data.coco_photos import get_photos
from mmret_lib.data.store import Store
from mmret_lib.encoders import train_wordpiece
from mmret_lib.files.errors import MissingFile

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--epochs", "1", "--batch-size", "16"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def environment(home):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MMRET_CACHE": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }


def in_a_process(home, *arguments, ok=True):
    """Run the command as a user does; its output must never hold a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "mmret_lib.cli", *map(str, arguments)],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=500,
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    assert (done.returncode == 0) == ok, output
    return output


def mmret(home, *arguments, ok=True):
    """The same in this process, which has torch imported already: five seconds less a call."""
    output = io.StringIO()
    with (
        contextlib.chdir(home),
        mock.patch.dict(os.environ, environment(home)),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        try:
            main(list(map(str, arguments)))
            code = 0
        except SystemExit as stopped:
            code = stopped.code
    assert (code in (0, None)) == ok, output.getvalue()
    return output.getvalue()


@pytest.fixture(scope="module")
def photos(home):
    """A Flickr8k folder of 40 plain pictures."""
    folder = home / "photos"
    (folder / "Images").mkdir(parents=True)
    lines = ["image,caption"]
    for index in range(40):
        Image.new("RGB", (50, 40 + index), (6 * index, 90, 200)).save(
            folder / "Images" / f"p{index}.jpg"
        )
        lines += [f'p{index}.jpg,"A picture, number {index} of <b>forty</b> ."'] * 5
    (folder / "captions.txt").write_text("\n".join(lines) + "\n")
    for split, numbers in {"train": range(24), "dev": range(24, 32), "test": range(32, 40)}.items():
        names = "".join(f"p{index}.jpg\n" for index in numbers)
        (folder / f"Flickr_8k.{split}Images.txt").write_text(names)
    return folder


@pytest.fixture(scope="module")
def run(home, photos):
    out = mmret(home, "train", "--data", "flickr8k", "--root", photos, "--out", "run", *TINY)
    assert "s of training (1 epochs)" in out and "flickr8k dev" in out
    return home / "run"


@pytest.mark.slow
def test_demo_makes_the_table_the_figures_and_the_runs(home):
    out = in_a_process(home, "demo", "--out", "demo", "--size", "120", *TINY)
    for label in ("Sum Triplet", "Max Triplet", "SimCLR", "Barlow Twins", "best possible"):
        assert label in out
    assert "the project, COCO" in out and "19.7" in out
    table = pd.read_csv(home / "demo" / "results.csv", index_col="loss")
    assert list(table.index) == ["simclr", "sum_triplet", "max_triplet", "barlow_twins", "ceiling"]
    record = json.loads((home / "demo" / "results.json").read_text())["results"]
    assert record["simclr"]["i2t_r1"] == pytest.approx(table.loc["simclr", "i2t_r1"])
    assert table.loc["ceiling", "t2i_r1"] >= table["t2i_r1"].max() - 25
    for name in ("training_curves", "text_to_image", "image_to_text", "negative_weights"):
        with Image.open(home / "demo" / f"{name}.png") as figure:
            assert min(figure.size) > 300
            assert len(set(figure.convert("L").resize((40, 40)).tobytes())) > 10  # not blank
    # The saved run ranks the built-in test split by itself, and the page answers with pictures.
    page = home / "page.html"
    found = mmret(home, "search", "demo/runs/simclr", "Grazing zebra", "--k", "3", "--out", page)
    assert found.count(".png") == 3 and "1,000 images searched" in found
    assert page.read_text().count("<img") == 3


OTHER_TRAININGS = [
    ("--temperature", "0.05", "temperature: was 0.07, is now 0.05"),
    ("--pooling", "mean", "text.pooling: was first, is now mean"),
    ("--max-length", "20", "text.max_length: was 64, is now 20"),
    ("--dim", "32", "dim: was 128, is now 32"),
    ("--image-weights", "mini", "image.pretrained_weights: was None, is now mini"),
    ("--text-backbone", "BERT", "text.backbone_name: was mini, is now "),
    ("--split", "dev", "data: was flickr8k train, is now flickr8k dev"),
]


def small_bert(home):
    """A folder with a text backbone other than the mini one."""
    train_wordpiece(["a picture"]).save_pretrained(home / "bert")
    DistilBertConfig(vocab_size=100, dim=32, hidden_dim=32, n_heads=2, n_layers=1).save_pretrained(
        home / "bert"
    )
    return home / "bert"


@pytest.mark.kill
def test_a_killed_training_goes_on(home, photos):
    """Killed after its first snapshot; the same command with --resume ends with a whole run."""
    arguments = [
        "train",
        "--data",
        "flickr8k",
        "--root",
        photos,
        "--out",
        "killed",
        "--epochs",
        "3",
        "--batch-size",
        "8",
        "--snapshot-minutes",
        "0",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mmret_lib.cli", *map(str, arguments)],
        cwd=home,
        env=environment(home),
        stderr=subprocess.DEVNULL,
    )
    snapshots = home / "killed" / "snapshots"
    deadline = time.monotonic() + 300
    while not list(snapshots.glob("step-*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (home / "killed" / "run.json").exists()
    assert "not finished: go on with it (--resume" in mmret(home, *arguments, ok=False)
    for option, value, said in OTHER_TRAININGS:
        value = small_bert(home) if value == "BERT" else value
        changed = [*arguments, "--resume", option, value]
        changed += ["--text-weights", "none"] * (option == "--text-backbone")
        out = mmret(home, *changed, ok=False)
        assert "is of another training" in out and said in out, out
    out = mmret(home, *arguments, "--resume")
    assert "(3 epochs)" in out
    names = {path.name for path in (home / "killed").iterdir()}
    assert names == {"run.json", "training.json", "history.csv", "model", "best"}
    assert len(pd.read_csv(home / "killed" / "history.csv")) == 3
    assert "is finished already" in mmret(home, *arguments, "--resume")
    other = mmret(home, *arguments, "--resume", "--temperature", "0.05", ok=False)
    assert "killed is of another training (temperature: was 0.07, is now 0.05)" in other


def test_evaluate_prints_the_pool_and_writes_json(home, run):
    out = mmret(home, "evaluate", run, "--split", "dev+test", "--json", "figures.json")
    assert "16 images, 80 captions, 5 per image" in out
    figures = json.loads((home / "figures.json").read_text())
    # After a few steps, one image is the first answer to many captions: a finding, rightly.
    assert set(figures) - {"findings"} == {
        *(
            f"{d}_{m}"
            for d in ("i2t", "t2i")
            for m in ("r1", "r5", "r10", "mean_rank", "median_rank")
        ),
        "images",
        "captions",
    }


def test_evaluate_compares_and_lists_the_queries(home, run):
    out = mmret(
        home,
        "evaluate",
        run,
        "--split",
        "dev+test",
        "--against",
        run,
        "--table",
        "queries.csv",
        "--json",
        "compared.json",
    )
    assert "95 % intervals" in out and "could be chance" in out
    table = pd.read_csv(home / "queries.csv")
    assert len(table) == 16 + 80
    assert table["lead"].is_monotonic_increasing
    assert "<b>forty</b>" in table["query_name"].str.cat()
    figures = json.loads((home / "compared.json").read_text())
    assert figures["against"]["t2i_r1"]["difference"] == 0
    assert figures["against"]["t2i_median_rank"]["p"] is None


def test_evaluate_reads_judgements_of_coco(home, run, tmp_path):
    """Three photos of Karpathy's test split; people found one more caption for the first."""
    records = []
    (tmp_path / "val2014").mkdir()
    for index in range(3):
        name = f"COCO_val2014_{index:012d}.jpg"
        Image.new("RGB", (40, 40), (60 * index, 9, 9)).save(tmp_path / "val2014" / name)
        sentences = [{"raw": f"picture {index}", "sentid": 10 * index + j} for j in range(2)]
        records.append(
            {
                "filename": name,
                "filepath": "val2014",
                "cocoid": index,
                "split": "test",
                "sentences": sentences,
            }
        )
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": records}))
    rated = "COCO_val2014:sentid:10,COCO_val2014_000000000000.jpg,4.2,c2i_intrasim"
    cxc = tmp_path / "sits_test.csv"
    cxc.write_text(f"caption,image,agg_score,sampling_method\n{rated}\n")
    coco = ("--data", "coco", "--root", tmp_path, "--split", "test")
    out = mmret(home, "evaluate", run, *coco, "--judgements", cxc, "--json", "judged.json")
    assert "judged by CxC" in out
    (judged,) = json.loads((home / "judged.json").read_text())["judged"].values()
    assert judged["i2t_queries"] == judged["t2i_queries"] == 1
    out = mmret(home, "evaluate", run, "--judgements", cxc, ok=False)
    assert "judgements are of COCO; flickr8k has none" in out


def test_search_by_picture(home, run, photos):
    out = mmret(home, "search", run, photos / "Images" / "p3.jpg", "--k", "2")
    assert out.count("<b>forty</b>") >= 2


@pytest.fixture(scope="module")
def own_photos(home):
    """Ten pictures of one's own, in two folders, with a captions file in open_clip's form."""
    folder = home / "own"
    rows = ["filepath\ttitle\tpart"]
    for index in range(10):
        path = folder / ("pets" if index < 5 else "town") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (25 * index, 90, 200)).save(path)
        split = "train" if index < 6 else "test"
        rows += [f"{path.relative_to(folder)}\tPicture {index}, told {n}.\t{split}" for n in "ab"]
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder / "captions.csv"


@pytest.mark.slow
def test_own_photos_with_a_captions_file(home, own_photos):
    """Train, evaluate, search, index; the later commands find the captions by the run's record."""
    folder = ("--data", "folder", "--captions", "own/captions.csv")
    tiny = ("--epochs", "1", "--batch-size", "4")
    out = mmret(home, "data", *folder[1:], "--size", "0")
    assert "folder all: 10 images, 20 captions" in out
    assert "folder train: 6 images" in mmret(
        home, "data", *folder[1:], "--size", "0", "--split-column", "part"
    )
    mmret(home, "train", *folder, "--split-column", "part", "--out", "owned", *tiny)
    data = json.loads((home / "owned" / "run.json").read_text())["data"]
    assert data == {
        "name": "folder",
        "root": "",
        "split": "train",
        "captions": str(own_photos),
        "split_column": "part",
    }
    assert "4 images, 8 captions" in mmret(home / "own", "evaluate", "../owned")
    out = mmret(home, "evaluate", "owned", "--split", "all", ok=False)
    assert "6 of 10 test images were trained on (the first is 0.png)" in out
    assert "R@1" not in out and "--allow-leak" in out
    leaked = ("--split", "train", "--allow-leak", "--json", "leaked.json")
    assert "6 of 6 test images were trained on" in mmret(home, "evaluate", "owned", *leaked)
    assert json.loads((home / "leaked.json").read_text())["trained_on"] == 6
    assert "4 images searched" in mmret(home, "search", "owned", "Picture 3")
    out = mmret(home, "index", "owned", "own-index", "--split", "all")
    assert "10 images, 20 captions" in out
    # Another file is another collection: the root and the columns of the run do not count there.
    other = home / "other" / "mine.jsonl"
    other.parent.mkdir()
    other.write_text(json.dumps({"Bild": "7.png", "text": ["Seven.", "7"]}))
    other = ("--captions", other, "--image-column", "Bild", "--root", home / "own" / "town")
    assert "1 images searched" in mmret(home, "search", "owned", "Seven", *other)


@pytest.mark.slow
def test_data_counts_photos_that_are_there_twice(home):
    folder = home / "twice"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((300, 300)).save(folder / f"{name}.png")
    Image.open(folder / "a.png").resize((120, 120)).save(folder / "again.jpg", quality=80)
    splits = {"a.png": "train", "b.png": "train", "c.png": "test", "again.jpg": "test"}
    rows = [f"{name},picture of {name},{split}" for name, split in splits.items()]
    (folder / "captions.csv").write_text("\n".join(["image,caption,split", *rows]) + "\n")
    given = ("folder", "--captions", "twice/captions.csv", "--size", "64")
    out = mmret(home, "data", *given)
    assert "train and test: 1 photo is in both: a.png = again.jpg" in out.splitlines()
    assert "there twice" not in out


def test_the_captions_file_belongs_to_a_folder(home, run, own_photos):
    out = mmret(home, "train", "--captions", own_photos, ok=False)
    assert "--captions is for --data folder, not for scenes" in out
    out = mmret(home, "search", run, "x", "--image-column", "x", ok=False)
    assert "--image-column is for --data folder, not for flickr8k" in out
    out = mmret(home, "train", "--captions", "all", ok=False)
    assert "set by --epoch-captions all" in out
    assert "--captions FILE" in mmret(home, "train", "--data", "folder", "--root", "own", ok=False)
    out = mmret(
        home, "train", "--data", "folder", "--captions", own_photos, "--split", "x", ok=False
    )
    assert "only 'all' can be read, not 'x'" in out


def test_data_checks_and_packs_what_lies_there(home, photos):
    out = mmret(home, "data", "flickr8k", "--root", photos, "--size", "16", "32")
    for split, images in (("train", 24), ("dev", 8), ("test", 8)):
        assert f"flickr8k {split}: {images} images, {5 * images} captions" in out
    folders = re.findall(r"packed at (\d+) pixels: (\S+)", out)
    assert len(folders) == len(set(folders)) == 6
    for size, folder in folders:
        assert Store.open(folder).size == int(size)
    assert not (photos / ".mmret-data.json").exists(), "it fetched what lies there already"
    assert "scenes" not in mmret(home, "data", "flickr8k", "--root", photos, "--size", "0")


def test_data_of_coco_takes_the_parts_that_lie_there(home, tmp_path):
    """Karpathy's split alone, as `mmret data coco --parts 2014` leaves it."""
    records = []
    (tmp_path / "val2014").mkdir()
    for index, split in enumerate(["train", "restval", "val", "test"]):
        name = f"{index}.jpg"
        Image.new("RGB", (40, 40), (60 * index, 9, 9)).save(tmp_path / "val2014" / name)
        sentences = [{"raw": f"picture {index}"}] * 5
        records.append(
            {
                "filename": name,
                "filepath": "val2014",
                "cocoid": index,
                "split": split,
                "sentences": sentences,
            }
        )
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": records}))
    out = mmret(home, "data", "coco", "--root", tmp_path, "--parts")
    assert "coco train+restval: 2 images, 10 captions" in out
    assert "coco val: 1 images" in out and "coco test: 1 images" in out


@pytest.mark.slow
def test_a_number_of_cocos_photos_is_fetched_trained_on_and_measured(home, tmp_path, monkeypatch):
    """The evening's set, from one command to honest figures; a repeated call fetches nothing."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    records = []
    with FileServer() as server:
        monkeypatch.setitem(get_photos.__kwdefaults__, "hosts", [server.url])
        for index in range(90):
            file = io.BytesIO()
            Image.new("RGB", (40, 30), (2 * index, 9, 200)).save(file, "JPEG")
            name = f"COCO_val2014_{index:012d}.jpg"
            server.put(f"/val2014/{name}", file.getvalue())
            split = ("train", "restval", "val", "test")[index % 4]
            sentences = [{"raw": f"picture {index}"}] * 5
            records.append({"filepath": "val2014", "filename": name, "cocoid": index})
            records[-1] |= {"split": split, "sentences": sentences}
        (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": records}))
        data = ("data", "coco", "--root", tmp_path)
        out = mmret(home, *data, "--images", "60")
        assert "coco train+restval: 42 images" in out and "coco test: 15 images" in out
        assert out.index("CC BY 4.0") < out.index("60 photos of COCO") < out.index("packed at 64")
        asked = len(server.requests)
        assert asked == 60
        out = mmret(home, *data, "--size", "0")  # goes on with the same choice
        assert "coco val: 3 images" in out and len(server.requests) == asked
    out = mmret(home, "train", "--data", "coco", "--root", tmp_path, "--out", "evening", *TINY)
    assert "coco: train+restval to train on, test to test on, and to validate on val" in out
    assert "coco test:" not in out
    out = mmret(home, "evaluate", "evening")
    assert "15 of Karpathy's 22 photos of test, the choice of" in out
    assert "comparable: not with published" in out and "15 photos, not the 5,000" in out


def test_a_number_of_photos_is_for_coco_alone(home, tmp_path):
    for more in (["flickr8k"], ["coco", "--parts", "2017"]):
        out = mmret(home, "data", *more, "--root", tmp_path, "--images", "20000", ok=False)
        assert "--images 20000 fetches photos of coco one by one" in out


def test_what_a_data_set_says_cannot_steer_the_terminal(home, run, photos, tmp_path):
    """Captions are somebody else's text: an escape sequence in one is shown, not obeyed."""
    odd = shutil.copytree(photos, tmp_path / "odd")
    captions = (odd / "captions.txt").read_text()
    (odd / "captions.txt").write_text(captions.replace("A picture", "\x1b[2J\x07A picture"))
    out = mmret(home, "search", run, "a picture", "--root", odd)
    assert "␛[2J␇A picture" in out
    assert not set(out) & {"\x1b", "\x07"}


@pytest.mark.slow
def test_train_takes_the_pocket_backbone_and_an_image_size(home, photos):
    arguments = ["--data", "flickr8k", "--root", photos, "--out", "pocket", *TINY]
    mmret(home, "train", *arguments, "--image-backbone", "pocket", "--image-size", "64")
    settings = json.loads((home / "pocket" / "model" / "model.json").read_text())
    assert settings["image"]["backbone"] == "pocket"
    assert settings["image"]["image_size"] == 64
    assert "8 images" in mmret(home, "evaluate", "pocket")
    out = mmret(home, "train", "--help")
    for flag in ("--image-backbone", "--image-weights", "--image-size", "timm/NAME", "--pooling"):
        assert flag in out
    for flag in ("--max-length", "--dim", "{auto,first,mean,max}"):
        assert flag in out


@pytest.mark.slow
def test_features_and_projections_trained_on_them(home, photos, tmp_path):
    """The command that `mmret features` prints trains on what it computed, and computes no more."""
    flags = ["--data", "flickr8k", "--root", photos, "--image-weights", "mini"]
    flags += ["--text-weights", "mini"]
    made = mmret(home, "features", *flags, "--views", 1, "--dtype", "float16")
    command = made.strip().splitlines()[-1]
    assert re.search("images by mini, 1 augmented views, float16: .*MB", made)
    assert command.startswith("Train on them: mmret train --data flickr8k --root ")
    assert "--split train --image-weights mini --text-weights mini" in command
    kept = {path: path.stat().st_mtime_ns for path in (home / "cache" / "features").rglob("*.npy")}
    named = shlex.split(command.partition("mmret ")[2])
    run = ["--out", tmp_path / "run", "--epochs", 2, "--batch-size", 8, "--val-split", "none"]
    trained = mmret(home, *named, *run)
    assert "neither backbone trains: their features are kept, of the photos in 1 aug" in trained
    now = {path: path.stat().st_mtime_ns for path in (home / "cache" / "features").rglob("*.npy")}
    assert now == kept
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["train"] == "projections" and record["config"]["views"] == 1
    out = tmp_path / "kept"
    made = mmret(home, "features", *flags, "--out", out)
    assert made.strip().endswith(f"--train projections --features {out}")
    refused = mmret(home, "train", *flags, *run, "--overwrite", "--features", out, ok=False)
    assert "is for features of frozen backbones" in refused


def test_the_help_names_every_command_without_waiting_for_torch(home):
    out = in_a_process(home, "--help")
    for command in ("demo", "data", "features", "train", "evaluate", "search", "cache", "pretrain"):
        assert command in out
    heavy = "import sys, mmret_lib.cli; print({'torch', 'pandas', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("command", "passages"),
    [
        (
            "train",
            ["comes with mmret), or any BERT-family", "by default 7, or on a small set as many"],
        ),
        ("search", ["begins like a path (/, ./, ~/), or has a slash"]),
    ],
)
def test_the_help_keeps_no_line_break_of_the_source(monkeypatch, capsys, command, passages):
    """Neither of a command's docstring, nor of a dataclass's fields."""
    monkeypatch.setenv("COLUMNS", "4000")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    wide = capsys.readouterr().out
    for passage in passages:
        assert passage in wide


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "nowhere"], "There is no run folder nowhere"),
        (["search", "RUN", "  "], "the query is empty"),
        (["search", "RUN", "zebra", "--k", "0"], "k"),
        (["search", "RUN", "missing.jpg"], "missing.jpg"),
        (["evaluate", "RUN", "--split", "nonsense"], "nonsense"),
        (["evaluate", "RUN", "--protocol", "1k"], "1,000|5,000|5000"),
        (["train", "--data", "coco"], "root"),
        (["train", "--data", "coco", "--root", "nowhere"], "nowhere"),
        (["train", "--data", "flickr8k", "--root", "PHOTOS", "--batch-size", "999"], "24 images"),
        (["train", "--data", "flickr8k", "--root", "PHOTOS", "--margin", "0.1"], "margin"),
        (["train", "--temperature", "-1"], "temperature"),
        (["train", "--epochs", "0"], "epochs"),
        (["train", "--device", "abacus"], "abacus"),
        (
            ["train", "--data", "flickr8k", "--root", "PHOTOS", "--image-backbone", "resnet34"],
            "--image-weights none",
        ),
        (
            [
                "train",
                "--data",
                "flickr8k",
                "--root",
                "PHOTOS",
                "--image-backbone",
                "timm/resnet35",
            ],
            "no image model 'resnet35'; near it: .*resnet34",
        ),
        (
            ["train", "--data", "flickr8k", "--root", "PHOTOS", "--text-backbone", "no/such-bert"],
            "no/such-bert",
        ),
        (["train", "--data", "flickr8k", "--root", "PHOTOS", "--out", "PHOTOS", *TINY], "delete"),
    ],
)
def test_errors_are_one_line_that_names_the_matter(
    home, run, photos, arguments, said, monkeypatch, capsys
):
    named = {"RUN": str(run), "PHOTOS": str(photos)}
    monkeypatch.chdir(home)
    monkeypatch.setenv("MMRET_CACHE", str(home / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody there
    with pytest.raises(SystemExit) as stopped:
        main([named.get(argument, argument) for argument in arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and re.search(said, error), error


def test_a_copy_without_lists_is_divided_by_names_and_the_run_keeps_that(home, photos, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(photos, root)
    lists = [path.rename(tmp_path / path.name) for path in root.glob("Flickr_8k.*")]
    said = "the photos are divided by a hash of their names; published figures"
    out = mmret(home, "train", "--data", "flickr8k", "--root", root, "--out", "seeded", *TINY)
    assert f"flickr8k seeded-train: {said}" in out and f"flickr8k seeded-dev: {said}" in out
    for path in lists:
        path.rename(root / path.name)
    out = mmret(home, "evaluate", "seeded")
    assert "seeded on flickr8k seeded-test" in out and said in out


@pytest.mark.parametrize("network", [True, False])
def test_data_fetches_the_lists_that_a_copy_lacks(home, photos, tmp_path, monkeypatch, network):
    root = tmp_path / "root"
    shutil.copytree(photos, root)
    lists = [path.rename(tmp_path / path.name) for path in root.glob("Flickr_8k.*")]
    asked = []

    def get(name, root, parts, **_):
        asked.append((name, parts))
        if not network:
            raise MissingFile("no network")
        for path in lists:
            shutil.copy(path, root)

    monkeypatch.setattr("mmret_lib.data.sources.get", get)
    out = mmret(home, "data", "flickr8k", "--root", root, "--size", "0")
    assert asked == [("flickr8k", ("text",))]
    if network:
        assert "flickr8k train: 24 images" in out
    else:
        assert "was not fetched: no network" in out
        assert "divided by a hash" in out and "flickr8k seeded-train:" in out


def test_data_says_which_split_lacks_too_many_photos(home, tmp_path):
    photos = [{"id": number, "file_name": f"{number}.jpg"} for number in range(20)]
    captions = [{"id": n, "image_id": n, "caption": f"photo {n}"} for n in range(20)]
    content = {"images": photos, "annotations": captions}
    put_coco(tmp_path, content, photos=("0.jpg",), split="train2017")
    put_coco(tmp_path, coco_content())
    out = mmret(home, "data", "coco", "--root", tmp_path, "--size", "0")
    assert "coco val2017: 3 images" in out
    assert "coco train2017-train: 17 of the 18 images" in out and "--max-missing 0.95" in out


def test_missing_photos_and_their_folder_by_flags_that_the_run_keeps(home, photos, tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    shutil.copytree(photos, root)
    (root / "Images").rename(elsewhere)
    (elsewhere / "p1.jpg").unlink()
    arguments = ["train", "--data", "flickr8k", "--root", root, "--out", "part", *TINY]
    out = mmret(home, *arguments, "--images", elsewhere, ok=False)
    assert "--max-missing 0.05" in out
    mmret(home, *arguments, "--images", elsewhere, "--max-missing", "0.05")
    out = mmret(home, "evaluate", "part", "--split", "train", "--allow-leak")
    assert "23 images" in out and "p1.jpg is missing" in out
    for flags, said in (
        (["--images", "500"], "--images 500 is a number"),
        (["--data", "album", "--images", "x"], "--images is for --data coco or flickr8k or"),
        (["--max-missing", "2"], "max_missing is 2"),
    ):
        assert said in mmret(home, "evaluate", "part", *flags, ok=False)


def test_unreadable_images_are_counted_and_too_many_refused(home, photos):
    (photos / "Images" / "p1.jpg").write_bytes(b"not a picture")
    try:
        arguments = ["train", "--data", "flickr8k", "--root", photos, "--out", "few", *TINY]
        out = mmret(home, *arguments, ok=False)
        assert "p1.jpg" in out and "1.0%" in out
        assert "--max-unreadable 0.05" in out
        out = mmret(home, *arguments, "--max-unreadable", "0.1")
        assert "1 of 24 images could not be read" in out and "p1.jpg" in out
        # The run keeps the share; other commands take the flag.
        evaluation = ["evaluate", "few", "--allow-leak"]
        for command in (evaluation, ["search", "few", "picture"], ["index", "few", "i"]):
            assert "p1.jpg" in mmret(home, *command, "--split", "train")
        data = ["--data", "flickr8k", "--root", photos, "--split", "train"]
        for command in (["index", "p"], ["search", "picture"]):
            out = mmret(home, *command, *data, ok=False)
            assert "--max-unreadable 0.05" in out
            assert "p1.jpg" in mmret(home, *command, *data, "--max-unreadable", "0.05")
    finally:
        Image.new("RGB", (50, 41), (6, 90, 200)).save(photos / "Images" / "p1.jpg")


@pytest.mark.slow
def test_without_tyro_one_line_says_what_to_install() -> None:
    program = "import sys; sys.modules['tyro'] = None; from mmret_lib.cli import main; main(['-h'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mmret: the command line needs tyro: pip install tyro\n"
