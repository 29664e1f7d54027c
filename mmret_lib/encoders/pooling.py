"""Pool the states of a text's tokens into one vector, as the model was trained to be pooled."""

import json
from pathlib import Path

from torch import Tensor

from mmret_lib.files.errors import DataError
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import write_text

POOLINGS = ("first", "mean", "max")
FILE = "1_Pooling/config.json"  # where sentence-transformers says how
CHOOSE = f"choose {', '.join(POOLINGS)} (--pooling)"

_KEY = "pooling_mode"
_OURS = {
    "cls_token": "first",
    "cls": "first",
    "mean_tokens": "mean",
    "mean": "mean",
    "max_tokens": "max",
    "max": "max",
}


def read_pooling(folder: Path) -> str:
    """Read how the model in a folder pools: "first" where the folder does not say.

    The file has one switch for each way (`"pooling_mode_mean_tokens": true`), or, in the newer
    form, the name of the way (`"pooling_mode": "mean"`).

    Raises:
        DataError: a damaged file, a way that mmret does not have, or several at once.
    """
    path = folder / FILE
    if not path.is_file():
        return "first"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        given = content.get(_KEY, [])
        named: list[str] = [given] if isinstance(given, str) else list(given)
        named += [
            name.removeprefix(f"{_KEY}_")
            for name, value in content.items()
            if name.startswith(f"{_KEY}_") and value is True
        ]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch it again, or {CHOOSE}.") from None
    named = list(dict.fromkeys(_OURS.get(name, str(name)) for name in named))
    if len(named) != 1 or named[0] not in POOLINGS:
        asked = " and ".join(named) or "no pooling"
        raise DataError(f"{path} asks for {asked}, which mmret does not have: {CHOOSE}.")
    return named[0]


def write_pooling(folder: Path, pooling: str, features: int) -> None:
    """Write into a model's folder how it pools; sentence-transformers reads it, too."""
    names = {"first": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    switches = {f"{_KEY}_{name}": ours == pooling for ours, name in names.items()}
    (folder / FILE).parent.mkdir(exist_ok=True)
    write_json(folder / FILE, {"word_embedding_dimension": features, **switches})
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling")))
    ]
    write_text(folder / "modules.json", json.dumps(modules, indent=2) + "\n")


def pool(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Pool states (B, L, features), mask (B, L) with 0 on padding -> (B, features).

    A text without any token has a vector of zeros as its mean and its maximum.
    """
    if pooling == "first":
        return states[:, 0]
    real = attention_mask.unsqueeze(-1) != 0  # (B, L, 1)
    if pooling == "max":
        largest = states.masked_fill(~real, float("-inf")).amax(dim=1)
        return largest.masked_fill(~real.any(dim=1), 0)
    # In float32: a sum of many float16 states loses digits.
    total = states.float().masked_fill(~real, 0).sum(dim=1)
    return (total / real.sum(dim=1).clamp(min=1)).to(states.dtype)
