"""What a command writes can be read by whom the umask lets: a second user opens a shared run."""

import os
import shlex
import stat

import pytest
import torch
from PIL import Image
from test_cli import mmret

from mmret_lib.encoders.weights import write_safetensors

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")

DATA = "--data folder --root ../photos --captions ../photos/captions.csv"
COMMANDS = [
    f"train {DATA} --val-split test --epochs 1 --batch-size 4 --dim 16 --out run",
    "evaluate run --json figures.json --table queries.csv",
    "search run picture --out page.html --json hits.json",
    "index run index",
    "index --photos ../photos own",
    f"features {DATA} --image-backbone pocket --text-backbone pocket --out features",
]


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def wrong_modes(folder, umask):
    """The files and folders that the umask would make otherwise."""
    return {
        str(path.relative_to(folder)): oct(mode)
        for path in folder.rglob("*")
        if (mode := stat.S_IMODE(path.stat().st_mode))
        != ((0o777 if path.is_dir() else 0o666) & ~umask)
    }


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o002], indirect=True, ids=oct)
def test_all_that_commands_write_follows_the_umask(tmp_path, umask):
    photos, work = tmp_path / "photos", tmp_path / "work"
    photos.mkdir()
    work.mkdir()
    rows = ["image,caption,split"]
    for index in range(12):
        Image.new("RGB", (40, 30), (20 * index, 90, 200)).save(photos / f"p{index}.png")
        rows.append(f"p{index}.png,picture number {index},{('train', 'train', 'test')[index % 3]}")
    (photos / "captions.csv").write_text("\n".join(rows) + "\n")
    for command in COMMANDS:
        mmret(work, *shlex.split(command))
    assert (work / "run" / "model" / "model.safetensors").exists() and (work / "cache").exists()
    assert wrong_modes(work, umask) == {}


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077], indirect=True, ids=oct)
def test_weights_follow_the_umask(tmp_path, umask):
    write_safetensors(tmp_path / "weights.safetensors", torch.nn.Linear(3, 3))
    assert wrong_modes(tmp_path, umask) == {}
