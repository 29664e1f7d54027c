"""Token ids of many captions at once, as a packed store keeps them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

AT_ONCE = 4096  # captions that are tokenised in one call


class Tokenizer(Protocol):
    """What a store needs of a text encoder; `TextEncoder` is one."""

    def tokenize(self, texts: Sequence[str]) -> dict[str, Any]:
        """`input_ids` and `attention_mask`, both int64 (len(texts), longest)."""

    def vocabulary(self) -> str:
        """A text that changes whenever the token ids of a caption may change."""


def token_table(captions: Sequence[str], tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
    """Tokenise captions: int32 (len(captions), longest), with -1 after a caption's last token."""
    parts = []
    for start in range(0, len(captions), AT_ONCE):
        tokens = tokenizer.tokenize(captions[start : start + AT_ONCE])
        ids = np.asarray(tokens["input_ids"], np.int32)
        parts.append(np.where(np.asarray(tokens["attention_mask"], bool), ids, -1))
    longest = max(part.shape[1] for part in parts)
    padded = [np.pad(p, [(0, 0), (0, longest - p.shape[1])], constant_values=-1) for p in parts]
    return np.concatenate(padded).astype(np.int32, copy=False)
