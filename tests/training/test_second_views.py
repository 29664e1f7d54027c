"""Second views of a batch: what they show, and that a training with them can be resumed.

That several processes agree on them is tested in test_distributed.py.
"""

import contextlib

import pytest
import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.augment import shift_and_flip
from mmret_lib.data.store import Store, pack
from mmret_lib.losses import SimCLR
from mmret_lib.losses.within import WithinBranches
from mmret_lib.training import TrainConfig, Trainer, build_model
from mmret_lib.training.second_views import SecondViews


@pytest.fixture(scope="module")
def store() -> Store:
    return pack(load_pairs("scenes", split="train", size=12, progress=False), 64, progress=False)


def test_they_are_other_captions_and_another_augmentation(store: Store) -> None:
    model = build_model("simclr", store.pairs, seed=0).eval()
    views = SecondViews(model, store)
    rows = torch.tensor([3, 0, 7])
    shown = torch.tensor(store.caption_ids[5 * rows])
    torch.manual_seed(0)
    image_emb, text_emb, caption_ids = views(rows, shown)
    torch.manual_seed(0)
    captions = views.draw_captions(rows, shown)
    seed = int(torch.randint(2**31, ()))
    assert (torch.tensor(store.owner)[captions] == rows).all()
    assert (caption_ids == torch.tensor(store.caption_ids)[captions]).all()
    assert (caption_ids != shown).all()
    tokens = model.text.tokenize([store.pairs.captions[row] for row in captions])
    pixels = torch.as_tensor(store[rows.numpy()])
    moved = shift_and_flip(pixels, torch.Generator().manual_seed(seed))
    torch.testing.assert_close((image_emb, text_emb), model(moved, tokens))


def test_an_image_with_one_caption_keeps_it(store: Store) -> None:
    views = SecondViews(build_model("simclr", store.pairs, seed=0), store)
    views.spans[2] = torch.tensor([10, 11])
    shown = torch.tensor(store.caption_ids[10:11])
    assert views.draw_captions(torch.tensor([2]), shown).tolist() == [10]


@pytest.mark.slow
def test_training_with_them_can_be_resumed_to_the_last_bit(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Stop(Exception):
        pass

    def stop(history: object) -> None:
        raise Stop

    def fit(folder, resume: bool, on_epoch) -> torch.Tensor:
        model = build_model("simclr", store.pairs, seed=0)
        loss = WithinBranches(SimCLR(), SecondViews(model, store))
        config = TrainConfig(epochs=2, batch_size=4)
        trainer = Trainer(
            model, loss, store, config, folder=folder, on_epoch=on_epoch, progress=False
        )
        trainer.fit(resume=resume)
        return model.image.projection.weight.detach().clone()

    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    with contextlib.suppress(Stop):
        fit(broken, False, stop)
    assert torch.equal(fit(broken, True, None), fit(whole, False, None))
