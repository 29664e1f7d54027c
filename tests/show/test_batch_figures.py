"""Figures of a handful of pairs: what is written in them is what they were given."""

import numpy as np
import pytest
import torch

from mmret_lib.losses import MaxTriplet, SumTriplet, negative_weights
from mmret_lib.show.batch_figures import push_on_circle, similarity_grid


def texts_of(figure) -> list[str]:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return inside + [text.get_text() for text in figure.texts]


def pictures(count: int) -> torch.Tensor:
    return torch.arange(count * 3 * 8 * 8).remainder(251).to(torch.uint8).view(count, 3, 8, 8)


def test_grid_writes_each_number_note_and_caption() -> None:
    values = torch.tensor([[0.91, -0.2, 0.33], [0.15, 0.48, 0.77]], requires_grad=True)
    notes = [["rank 1", "rank 3", "rank 2"], ["rank 3", "rank 2", "rank 1"]]
    figure = similarity_grid(
        values,
        pictures(2),
        ["A cat.", "Two cows.", "A $5 note."],
        "Title",
        owner=[0, 1, 1],
        notes=notes,
    )
    shown = texts_of(figure)
    for wanted in ("0.91", "-0.20", "0.77", "rank 3", "A cat.", "A $5 note.", "Title"):
        assert wanted in shown
    bold = {t.get_text() for axes in figure.axes for t in axes.texts if t.get_weight() == "bold"}
    assert bold == {"0.91", "0.48", "0.77", "rank 1", "rank 2"}  # each picture's own captions
    figure.canvas.draw()


def test_grid_of_equal_numbers_can_be_drawn() -> None:
    similarity_grid(np.zeros((2, 2)), pictures(2), ["a", "b"], "all alike").canvas.draw()


def test_grid_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) for 2 images, 2 captions"):
        similarity_grid(np.zeros((2, 3)), pictures(2), ["a", "b"], "title")


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_circle_labels_the_querys_negatives_with_their_shares(count: int) -> None:
    angle = torch.deg2rad(torch.tensor([[85.0, 112], [45, 68], [140, 125], [300, 330]]))
    image_emb, text_emb = (torch.stack([a.cos(), a.sin()], 1) for a in angle.T)
    losses = [SumTriplet(), MaxTriplet()] * 3
    weights = {
        f"loss {n}": negative_weights(loss, 5 * image_emb, text_emb)
        for n, loss in enumerate(losses[:count])
    }
    figure = push_on_circle(image_emb, text_emb, weights, query=0)
    figure.canvas.draw()
    first = [text.get_text() for text in figure.axes[0].texts]
    assert {"i0", "t0", "t1: 50%", "t2: 50%", "t3: 0"} <= set(first)
    if count > 1:
        assert {"t1: 100%", "t2: 0"} <= {text.get_text() for text in figure.axes[1].texts}
    assert [axes.get_title() for axes in figure.axes][:count] == list(weights)


def test_circle_refuses_more_than_two_dimensions() -> None:
    with pytest.raises(ValueError, match="circle"):
        push_on_circle(torch.ones(3, 4), torch.ones(3, 4), {"loss": torch.zeros(3)})
