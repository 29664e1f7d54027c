"""The terms within a branch: what they add up to, and what of them is a parameter."""

import pytest
import torch
from loss_batches import pairs
from torch import Tensor

from mmret_lib.losses import SimCLR
from mmret_lib.losses.within import WithinBranches

IMAGE_TWO, TEXT_TWO = pairs(6, 4, seed=1)
IMAGE_IDS, CAPTION_IDS = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([9, 8, 7, 9, 5, 4])
SECOND_IDS = torch.tensor([1, 2, 3, 1, 2, 6])


def second_views(image_ids: Tensor, caption_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    assert torch.equal(image_ids, IMAGE_IDS) and torch.equal(caption_ids, CAPTION_IDS)
    return IMAGE_TWO, TEXT_TWO, SECOND_IDS


@pytest.mark.parametrize(("images", "captions"), [(0, 0), (1, 0), (0, 1), (0.5, 2)])
def test_the_value_is_the_sum_of_its_terms(images: float, captions: float) -> None:
    image_emb, text_emb = pairs(6, 4)
    loss = SimCLR()
    within = WithinBranches(loss, second_views, images, captions)
    value = within(image_emb, text_emb, image_ids=IMAGE_IDS, caption_ids=CAPTION_IDS)
    ids = {"image_ids": IMAGE_IDS}
    between = loss(image_emb, text_emb, **ids, caption_ids=CAPTION_IDS)
    between = (between + loss(IMAGE_TWO, TEXT_TWO, **ids, caption_ids=SECOND_IDS)) / 2
    expected = between + images * loss(image_emb, IMAGE_TWO, **ids)
    expected = expected + captions * loss(text_emb, TEXT_TWO, **ids, caption_ids=CAPTION_IDS)
    torch.testing.assert_close(value, expected)


def test_only_the_loss_s_own_number_is_a_parameter_of_it() -> None:
    within = WithinBranches(SimCLR(learnable=True), second_views)
    assert [name for name, _ in within.named_parameters()] == ["loss.unbounded"]
    assert list(within.state_dict()) == ["loss.unbounded"]


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        WithinBranches(SimCLR(), second_views, images=-1.0)
