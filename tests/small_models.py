"""Small encoders, inputs and spoilt files that the tests of the encoders share."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmret_lib.encoders import DualEncoder

CAPTIONS = [
    "A baby elephant plays in the water.",
    "Two large zebras stand on dry dirt.",
    "A red bus on the street next to an umbrella.",
    "A steaming bowl of ramen on a table.",
    "Three flamingos stand beside a big fish at night.",
] * 4
WEIRD = [
    "",
    "   ",
    "zebra",
    "a 🦓 beside a 👩‍👩‍👧 and 🇫🇷",
    "فيل صغير يلعب في الماء",
    "‮siht daer‬ <b>bold</b> &amp;",
    "half an emoji: \ud83d",
    "\x00\t\n control",
    "word " * 10_000,
    "x" * 10_000,
]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def photos(count: int = 4, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def mini(**settings) -> DualEncoder:
    settings = {"image_weights": None, "text_weights": None, "captions": CAPTIONS} | settings
    return DualEncoder.from_names(**settings)


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "baby", "elephant", "plays", "in", "the", "water", ".", "two", "zebra"]
WORDS += ["##s"]


SMALL = {
    "vocab_size": 400,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 66,
}
GROUPS = ("q", "k", "v", "post_attention", "intermediate", "output")


class Trap:
    """A pickle that would write a file when opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def spoil(path: Path, fault: str) -> None:
    state = load_file(path)
    first = min(name for name in state if "num_batches" not in name)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "text":
        path.write_text("<html>502 Bad Gateway</html>")
    elif fault == "missing":
        save_file({n: v for n, v in state.items() if n != first}, path)
    elif fault == "unknown":
        save_file({**state, "surprise": torch.zeros(1)}, path)
    elif fault == "shape":
        save_file({**state, first: torch.zeros(7)}, path)
