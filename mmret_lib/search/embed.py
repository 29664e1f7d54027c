"""Collections and queries turned into unit vectors, and the name of the model that does it."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.losses.base import unit_length

CHUNK = 1024  # entries that are embedded between two moves of the progress bar
REMEMBERED = 1024  # texts whose embedding is kept
LONG = 10_000  # characters from which on a text is not worth keeping


def fingerprint(model: DualEncoder) -> str:
    """64 hexadecimal digits: the same for models that embed everything alike.

    Of all weights and statistics, the vocabulary, and the settings that change an embedding.
    """
    text, image = model.text, model.image
    settings = [image.image_size, text.pooling, text.vocabulary(), model.standardise]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, value in sorted(model.state_dict().items()):
        if not name.endswith("num_batches_tracked"):  # counts training steps, embeds nothing
            plain = value.detach().cpu().contiguous()
            digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def embed_images(
    model: DualEncoder, data: Store, out: npt.NDArray[np.float32], progress: bool = True
) -> None:
    """Fill `out` (N, D), which may be a file mapped into memory, with unit vectors.

    Raises:
        DataError: an embedding is not finite.
    """
    _embed(model.encode_images, data, np.arange(len(data)), "image", out, progress)


def embed_texts(
    model: DualEncoder, texts: Sequence[str], out: npt.NDArray[np.float32], progress: bool = True
) -> None:
    """Fill `out` (M, D) likewise. A text that occurs more than once is embedded once."""
    numbers: dict[str, int] = {}
    entry = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    _embed(model.encode_texts, list(numbers), entry, "caption", out, progress)


def _embed(
    encode: Callable[[Any], Tensor],
    entries: Sequence[str] | Store,
    entry: npt.NDArray[np.int64],
    noun: str,
    out: npt.NDArray[np.float32],
    progress: bool,
) -> None:
    """Row r of `out` becomes the embedding of entries[entry[r]]."""
    order = np.argsort(entry, kind="stable")  # rows, those of one entry together
    ends = np.searchsorted(entry[order], np.arange(len(entries) + 1))
    with tqdm(
        total=len(entries), desc=f"embedding {noun}s", unit="", disable=not progress, leave=False
    ) as bar:
        for first in range(0, len(entries), CHUNK):
            emb = encode(entries[first : first + CHUNK]).float().cpu()  # (part, D)
            # topk would put NaN first: a broken model would look like a confident one.
            bad = (~torch.isfinite(emb).all(dim=1)).nonzero()
            if len(bad):
                raise DataError(
                    f"the model's embedding of {noun} {order[ends[first + int(bad[0])]]} is not "
                    "finite; its training has diverged: train again at a lower learning rate"
                )
            rows = order[ends[first] : ends[first + len(emb)]]
            out[rows] = unit_length(emb).numpy()[entry[rows] - first]
            bar.update(len(emb))


class Queries:
    """Embeds what is asked, in batches; a text that was asked before is remembered."""

    def __init__(self, model: DualEncoder) -> None:
        self.model = model
        self.remembered: OrderedDict[str, Tensor] = OrderedDict()  # the last used at the end
        self.lock = threading.Lock()

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (Q, D), float32 on the CPU, of Q texts."""
        with self.lock:  # widgets ask from several threads
            known = {text: self.remembered[text] for text in texts if text in self.remembered}
            if new := [text for text in dict.fromkeys(texts) if text not in known]:
                emb = _checked(self.model.encode_texts(new))
                # clones: a view would keep the embeddings of all others in memory
                known |= {text: row.clone() for text, row in zip(new, emb, strict=True)}
            for text in known:
                if len(text) < LONG:
                    self.remembered[text] = known[text]
                    self.remembered.move_to_end(text)
            while len(self.remembered) > REMEMBERED:
                self.remembered.popitem(last=False)
            return torch.stack([known[text] for text in texts])

    def images(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """Unit vectors (Q, D) of Q images (Q, 3, S, S)."""
        with self.lock:
            return _checked(self.model.encode_images(pixels))


def _checked(emb: Tensor) -> Tensor:
    emb = emb.float().cpu()
    if not torch.isfinite(emb).all():
        raise DataError(
            "the model's embedding of the query is not finite; its training has diverged: train "
            "again at a lower learning rate"
        )
    return unit_length(emb)
