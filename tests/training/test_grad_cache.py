"""Gradient caching: the full batch's gradient, from a model that sees the batch in pieces."""

import copy

import pytest
import torch
from torch import nn

from mmret_lib.encoders import DualEncoder
from mmret_lib.losses import ATLAS, LOSSES
from mmret_lib.training import build_loss
from mmret_lib.training.distributed import Branches
from mmret_lib.training.grad_cache import cached_backward

pytestmark = pytest.mark.slow  # nearly every test trains or writes much

WORDS = ["zebra", "a red bus", "two big boots on the sand", "ramen", "an umbrella in the rain"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DualEncoder.from_names(image_weights=None, text_weights=None, captions=WORDS)


def batch(model, device, size=12):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (size, 3, 32, 32), generator=generator).to(torch.uint8)
    tokens = model.text.tokenize([WORDS[i % 5] + " here" * (i // 5) for i in range(size)])
    return images.to(device), {name: value.to(device) for name, value in tokens.items()}


def in_pieces(model, images, tokens, loss, chunk_size):
    def loss_of(image_emb, text_emb):
        return loss(*model.standardised(image_emb, text_emb))

    return cached_backward(Branches(model), images, tokens, loss_of, chunk_size)


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def both_ways(model, loss, device, chunk_size, mode="eval"):
    """(loss, gradients of model and loss, statistics) plainly and in pieces."""
    found = []
    for cached in (False, True):
        # In float64, where what differs is not rounding.
        one, own = copy.deepcopy(model).double().to(device), copy.deepcopy(loss).to(device)
        one.train(mode == "train")
        images, tokens = batch(one, device)
        torch.manual_seed(5)
        if cached:
            value = in_pieces(one, images, tokens, own, chunk_size)
        else:
            value = own(*one(images, tokens))
            value.backward()
        found.append((value.detach(), gradients(one) | gradients(own), dict(one.named_buffers())))
    return found


@pytest.mark.parametrize(
    ("name", "chunk_size"),
    [*((name, size) for name in LOSSES for size in (1, 5, 12)), *((name, 5) for name in ATLAS)],
)
def test_loss_and_gradients_are_those_of_the_full_batch(model, device, name, chunk_size):
    learned = {"learnable": True} if name in LOSSES else {}
    plain, cached = both_ways(model, build_loss(name, **learned), device, chunk_size)
    torch.testing.assert_close(plain[0], cached[0], rtol=1e-10, atol=1e-10)
    assert plain[1].keys() == cached[1].keys() and len(plain[1]) > 50
    for key, gradient in plain[1].items():
        torch.testing.assert_close(gradient, cached[1][key], rtol=1e-7, atol=1e-9, msg=key)


def test_barlow_twins_standardises_over_the_whole_batch(device):
    """Its loss and the BatchNorms that end the branches need all pairs at once, and get them."""
    torch.manual_seed(0)
    model = DualEncoder.from_names(
        image_weights=None, text_weights=None, captions=WORDS, standardise=True
    )
    for module in model.modules():  # dropout and the backbone's statistics differ by nature
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    plain, cached = [], []
    for out, chunk_size in ((plain, 0), (cached, 4)):
        one = copy.deepcopy(model).double().to(device).train()
        for backbone in (one.image.backbone, one.text.backbone):
            backbone.eval()
        images, tokens = batch(one, device)
        loss = LOSSES["barlow_twins"]()
        if chunk_size:
            value = in_pieces(one, images, tokens, loss, chunk_size)
        else:
            value = loss(*one(images, tokens))
            value.backward()
        out += [value.detach(), gradients(one), one.image_norm.running_mean.clone()]
    torch.testing.assert_close(plain[0], cached[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(plain[2], cached[2])
    for key, gradient in plain[1].items():
        torch.testing.assert_close(gradient, cached[1][key], rtol=1e-7, atol=1e-9, msg=key)


def test_dropout_repeats_in_the_second_pass(model, device):
    """One piece, so that only dropout could differ: the gradient is that of the loss returned."""
    model = copy.deepcopy(model).to(device)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    model.image.eval()
    model.text.train()
    images, tokens = batch(model, device)
    loss = LOSSES["simclr"]()
    torch.manual_seed(3)
    in_pieces(model, images, tokens, loss, 100)
    cached = gradients(model)
    following = torch.rand(3)
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    loss(*model(images, tokens)).backward()
    for key, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, cached[key], rtol=1e-4, atol=1e-6)
    assert torch.equal(torch.rand(3), following), "it left another random state behind"


def test_running_statistics_move_once_for_each_piece(model, device):
    model = copy.deepcopy(model).to(device).train()
    images, tokens = batch(model, device)
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for span in (slice(0, 6), slice(6, 12)):
            expected.image(images[span])
    in_pieces(model, images, tokens, LOSSES["simclr"](), 6)
    for (name, mine), theirs in zip(
        model.image.named_buffers(), dict(expected.image.named_buffers()).values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_the_first_pass_keeps_nothing_for_a_gradient(model):
    """Else the activations of all pieces would be in memory at once, and nothing be saved."""
    passes = []

    class Watched(Branches):
        def forward(self, images, tokens):
            passes.append(torch.is_grad_enabled())
            return super().forward(images, tokens)

    model = copy.deepcopy(model)
    cached_backward(Watched(model), *batch(model, "cpu"), LOSSES["simclr"](), 5)
    assert passes == [False] * 3 + [True] * 3


@pytest.mark.filterwarnings("ignore:the .* has random weights")
@pytest.mark.parametrize("part", ["projections", "image", "text"])
def test_frozen_parts_get_no_gradient(model, part):
    model = copy.deepcopy(model)
    model.train_only(part)
    images, tokens = batch(model, "cpu")
    in_pieces(model, images, tokens, LOSSES["simclr"](), 5)
    assert gradients(model).keys() == {n for n, p in model.named_parameters() if p.requires_grad}


def test_a_loss_that_draws_draws_anew_in_every_step(model, device):
    """No dropout here, so that only the loss draws; with dropout, the pieces draw before it."""
    model = copy.deepcopy(model).to(device).eval()
    images, tokens = batch(model, device)
    draws = []

    def drawing(image_emb, text_emb):
        draws.append(torch.rand(3, device=device))
        return LOSSES["simclr"]()(image_emb, text_emb)

    torch.manual_seed(5)
    for _ in range(3):
        in_pieces(model, images, tokens, drawing, 5)
    torch.manual_seed(5)
    expected = [torch.rand(3, device=device) for _ in range(3)]
    torch.testing.assert_close(draws, expected)
