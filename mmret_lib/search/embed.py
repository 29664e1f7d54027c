"""Turn collections and queries into unit vectors, and identify the model that does it."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mmret_lib.data.features import Features
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.weights import digest_of
from mmret_lib.files.errors import DataError
from mmret_lib.losses.base import unit_length

SIDES = ("image", "text")  # of a collection: its images and its captions

ENTRIES_AT_ONCE = 1024  # embedded between two updates of the progress bar
MAX_REMEMBERED = 1024  # texts whose embedding is kept in memory
LONG = 10_000  # characters; a text that has so many is not kept
DIVERGED = "is not finite; its training has diverged: train again at a lower learning rate"


def fingerprint(model: DualEncoder) -> str:
    """Return 64 hexadecimal digits that are equal for models with equal embeddings.

    They depend on all weights and statistics, the vocabulary, and the settings that change an
    embedding.
    """
    text, image = model.text, model.image
    settings = [image.image_size, text.pooling, text.vocabulary(), model.standardise]
    if image.crop != 1:  # else as before there were crops, so that older indexes open
        settings.append(image.crop)
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts training steps, embeds nothing
    }
    return digest_of(state, json.dumps(settings).encode())


def count_rows(data: Store | Features, side: str) -> int:
    """Return how many embeddings one side of a data set has: N images or M captions."""
    return len(data) if side == "image" else len(data.pairs.captions)


def embed(
    model: DualEncoder,
    data: Store | Features,
    side: str,
    out: npt.NDArray[np.float32],
    progress: bool = True,
) -> None:
    """Embed the images or the captions of a data set.

    A caption that occurs more than once is embedded once.

    Args:
        data: the packed data set, or its kept features.
        side: "image" or "text".
        out: (N, D) or (M, D), is filled with unit vectors; may be a file mapped into memory.

    Raises:
        DataError: an embedding is not finite.
    """
    if side == "image":
        entry = np.arange(len(data))
        count = len(data)

        def encode(part: slice) -> Tensor:
            return model.encode_images(data[part])
    else:
        numbers: dict[str, int] = {}
        captions = data.pairs.captions
        entry = np.array([numbers.setdefault(text, len(numbers)) for text in captions], np.int64)
        count = len(numbers)
        first_rows = np.unique(entry, return_index=True)[1]  # (count,), of each distinct caption

        def encode(part: slice) -> Tensor:
            return model.encode_texts(data.texts(first_rows[part]))

    noun = "image" if side == "image" else "caption"
    # Row r of `out` becomes the embedding of entry number entry[r].
    order = np.argsort(entry, kind="stable")  # rows, those of one entry together
    ends = np.searchsorted(entry[order], np.arange(count + 1))
    with tqdm(
        total=count, desc=f"embedding {noun}s", unit="", disable=not progress, leave=False
    ) as bar:
        for first in range(0, count, ENTRIES_AT_ONCE):
            emb = encode(slice(first, first + ENTRIES_AT_ONCE)).float().cpu()  # (part, D)
            # topk would put NaN first: a broken model would look like a confident one.
            bad = (~torch.isfinite(emb).all(dim=1)).nonzero()
            if len(bad):
                row = order[ends[first + int(bad[0])]]
                raise DataError(f"the model's embedding of {noun} {row} {DIVERGED}")
            rows = order[ends[first] : ends[first + len(emb)]]
            out[rows] = unit_length(emb).numpy()[entry[rows] - first]
            bar.update(len(emb))


class Queries:
    """Embed queries in batches, and remember the texts that were asked before."""

    def __init__(self, model: DualEncoder) -> None:
        self.model = model
        self.remembered: OrderedDict[str, Tensor] = OrderedDict()  # the last used at the end
        self.lock = threading.Lock()

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed Q texts as unit vectors (Q, D), float32 on the CPU.

        Raises:
            TypeError: one is not a string.
            DataError: one has no visible character, or its embedding is not finite.
        """
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(
                    f"a query is one string, or a list of strings, not {type(text).__name__}"
                )
            if not any(char.isprintable() and not char.isspace() for char in text):
                raise DataError(
                    f"the query {text[:20]!r} is empty; say what the picture shows, "
                    'such as "Red bus on the street"'
                )
        with self.lock:  # widgets search from several threads
            known = {text: self.remembered[text] for text in texts if text in self.remembered}
            if new := [text for text in dict.fromkeys(texts) if text not in known]:
                emb = _unit(self.model.encode_texts(new))
                # clones: a view would keep the embeddings of all others in memory
                known |= {text: row.clone() for text, row in zip(new, emb, strict=True)}
            for text in known:
                if len(text) < LONG:
                    self.remembered[text] = known[text]
                    self.remembered.move_to_end(text)
            while len(self.remembered) > MAX_REMEMBERED:
                self.remembered.popitem(last=False)
            return torch.stack([known[text] for text in texts])

    def images(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """Embed Q images (Q, 3, S, S) as unit vectors (Q, D), float32 on the CPU."""
        with self.lock:
            return _unit(self.model.encode_images(pixels))


def _unit(emb: Tensor) -> Tensor:
    emb = emb.float().cpu()
    if not torch.isfinite(emb).all():
        raise DataError(f"the model's embedding of the query {DIVERGED}")
    return unit_length(emb)
