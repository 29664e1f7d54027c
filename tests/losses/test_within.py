"""The terms within a branch: which views they compare, and that they train nothing twice."""

import pytest
import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.losses import SimCLR
from mmret_lib.losses.within import WithinBranches
from mmret_lib.training import TrainConfig, Trainer, build_model


@pytest.fixture(scope="module")
def store() -> Store:
    return pack(load_pairs("scenes", split="train", size=12, progress=False), 64, progress=False)


def test_the_value_is_the_sum_of_its_terms(store: Store) -> None:
    model = build_model("simclr", store.pairs, seed=0).eval()
    loss = SimCLR()
    rows = torch.arange(6)
    captions = torch.tensor(store.caption_ids[5 * rows])
    image_emb, text_emb = torch.randn(2, 6, 128)
    values = {}
    for weights in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 2.0)):
        torch.manual_seed(0)  # the same second views each time
        within = WithinBranches(loss, model, store, *weights)
        values[weights] = within(image_emb, text_emb, image_ids=rows, caption_ids=captions)
    between = values[0, 0]
    images, texts = values[1, 0] - between, values[0, 1] - between
    assert torch.allclose(values[0.5, 2], between + 0.5 * images + 2 * texts, atol=1e-4)

    torch.manual_seed(0)
    within = WithinBranches(loss, model, store)
    again = within.second_captions(rows, captions)
    assert (torch.tensor(store.owner)[again] == rows).all()
    assert (torch.tensor(store.caption_ids)[again] != captions).all()
    image_two, text_two = within.second_views(rows, again, torch.device("cpu"))
    assert torch.allclose(images, loss(image_emb, image_two), atol=1e-4)
    ids = {"caption_ids": captions}
    assert torch.allclose(texts, loss(text_emb, text_two, **ids), atol=1e-4)
    alone = [loss(image_emb, text_emb, **ids)]
    alone.append(loss(image_two, text_two, caption_ids=store.caption_ids[again]))
    assert torch.allclose(between, sum(alone) / 2, atol=1e-4)


def test_only_the_loss_s_own_number_is_a_parameter_of_it(store: Store) -> None:
    model = build_model("simclr", store.pairs, seed=0)
    within = WithinBranches(SimCLR(learnable=True), model, store)
    assert [name for name, _ in within.named_parameters()] == ["loss.unbounded"]
    assert list(within.state_dict()) == ["loss.unbounded"]


def test_training_with_it_can_be_resumed_to_the_last_bit(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Stop(Exception):
        pass

    def stop(history: object) -> None:
        raise Stop

    ends = []
    for broken in (False, True):
        folder = tmp_path_factory.mktemp("run")
        config = TrainConfig(epochs=2, batch_size=4)
        parts = [stop, None] if broken else [None]
        for part, on_epoch in enumerate(parts):
            model = build_model("simclr", store.pairs, seed=0)
            within = WithinBranches(SimCLR(), model, store)
            trainer = Trainer(
                model, within, store, config, folder=folder, on_epoch=on_epoch, progress=False
            )
            try:
                trainer.fit(resume=part == 1)
            except Stop:
                continue
        ends.append(model.image.projection.weight.detach().clone())
    assert torch.equal(*ends)


def test_negative_weights_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        WithinBranches(SimCLR(), build_model("simclr", store.pairs), store, images=-1.0)
