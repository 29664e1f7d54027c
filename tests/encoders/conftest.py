"""Checkpoints and a model hub to read from."""

import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
import torch
from hub_server import HubServer
from small_models import SMALL, WORDS
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with `distilbert` and `bert`, small but saved by transformers itself."""
    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    sizes = {**SMALL, "vocab_size": len(WORDS)}
    distilbert = DistilBertConfig(
        vocab_size=len(WORDS),
        dim=16,
        n_layers=1,
        n_heads=2,
        hidden_dim=32,
        max_position_embeddings=66,
    )
    bert = BertConfig(**sizes)
    # As published: with the masked-word head that an encoder has no use for.
    for name, model in {
        "distilbert": DistilBertForMaskedLM(distilbert),
        "bert": BertForMaskedLM(bert),
    }.items():
        model.save_pretrained(root / name)
        BertTokenizer({word: i for i, word in enumerate(WORDS)}).save_pretrained(root / name)
    return root


@pytest.fixture
def tiny_copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny DistilBERT's folder, free to be spoilt."""
    return shutil.copytree(tiny / "distilbert", tmp_path / "spoilt")


@pytest.fixture(scope="module")
def timm_resnet18() -> nn.Module:
    timm = pytest.importorskip("timm")  # comes with open_clip
    torch.manual_seed(0)
    return timm.create_model("resnet18.tv_in1k", pretrained=False).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch, tiny: Path):
    """A hub on 127.0.0.1, with empty caches on this side."""
    root = tmp_path / "hub"
    shutil.copytree(tiny / "distilbert", root / "somebody" / "tiny-distilbert")
    constants = huggingface_hub.constants
    with HubServer(root, moved={"tiny-distilbert": "somebody/tiny-distilbert"}) as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("MMRET_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""

    def refuse(*address):
        raise AssertionError(f"asked the network: {address[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
