"""A collection embedded once, then asked by text or picture for pictures or captions.

    index = SearchIndex.build(model, pairs)
    for hit in index.by_text("A baby elephant plays in the water", k=5):
        print(hit.rank, f"{hit.score:.3f}", hit.image)

    index = SearchIndex.build(model, pairs, backend="hnsw", folder="index")   # large, and kept
    index = SearchIndex.open("index", model)

Exact search compares the query with every entry: right for up to some hundred thousand. Beyond, an
index of FAISS or a Milvus database looks at a part; how much of the exact answer it finds has been
measured, and stands in `index.recall`.
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmret_lib.data.images import Picture, open_picture, picture_pixels
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.search.collection import Collection
from mmret_lib.search.embed import Queries
from mmret_lib.search.hits import Hit, hits_of
from mmret_lib.search.kept_collection import BACKENDS, KeptCollection
from mmret_lib.search.vectors import CHECKED, Vectors

__all__ = ["BACKENDS", "Hit", "Picture", "SearchIndex", "open_picture"]

Texts = list[str] | tuple[str, ...]
Pictures = list[Picture] | tuple[Picture, ...]


@dataclass(eq=False, repr=False)
class SearchIndex:
    """A collection ready to be asked; make one with `build`, or `open` one that was kept.

    Attributes:
        model: embeds the queries, as it embedded the collection.
        pairs: the collection: N images, M captions.
        image_emb: (N, D) float32 on the CPU, rows of length 1.
        text_emb: (M, D), likewise.
    """

    model: DualEncoder
    pairs: Pairs
    image_emb: Tensor
    text_emb: Tensor

    def __post_init__(self) -> None:
        self._queries = Queries(self.model)
        sides = {"image": Vectors(self.image_emb), "text": Vectors(self.text_emb)}
        self._kept = KeptCollection(self.model, Collection(self.pairs, sides))

    @classmethod
    def build(
        cls,
        model: DualEncoder,
        pairs: Pairs | Store,
        *,
        backend: str = "exact",
        folder: str | Path | None = None,
        uri: str | None = None,
        token: str | None = None,
        progress: bool = True,
    ) -> "SearchIndex":
        """Embed every image and every caption, and index them.

        Args:
            model: as trained; it stays on its device.
            pairs: the collection. Images that cannot be read are left out with a warning, as
                `pack` does, and are missing from `index.pairs` too.
            backend: "exact"; "flat", "hnsw" or "ivf" (FAISS, in memory); "milvus" (a database).
            folder: where to keep the index. Embeddings then lie in files that are mapped into
                memory, so that millions need little of it. An index that is there is replaced,
                in one move, when the new one is complete.
            uri: of the Milvus database: "http://host:19530", or a file "….db" for Milvus Lite; by
                default such a file in the folder.
            token: for a Milvus that asks for one; never written down.
            progress: whether to show progress bars.

        Raises:
            DataError: an empty collection, too many unreadable images, a model whose embeddings
                are not finite, an unknown backend or one that is not installed, a folder that
                holds something else or has no room, or a database that does not answer.
        """
        kept = KeptCollection.build(
            model, pairs, backend=backend, folder=folder, uri=uri, token=token, progress=progress
        )
        return cls._of(kept)

    @classmethod
    def open(
        cls, folder: str | Path, model: DualEncoder, *, token: str | None = None
    ) -> "SearchIndex":
        """An index that lies in a folder, checked to be whole and made by this model.

        Raises:
            MissingFile: there is none.
            DataError: made by another model, damaged, short, of another version, or its database
                does not answer. Says what to do.
        """
        return cls._of(KeptCollection.open(folder, model, token=token))

    @classmethod
    def _of(cls, kept: KeptCollection) -> "SearchIndex":
        now = kept.collection
        index = cls(kept.model, now.pairs, now.sides["image"].emb, now.sides["text"].emb)
        index._kept = kept
        return index

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"<SearchIndex of {self.pairs!r}, {self.summary}>"

    @property
    def folder(self) -> Path | None:
        """Where it is kept up to date; None where it is only in memory."""
        return None if self._kept.place is None else self._kept.place.folder

    @property
    def backend(self) -> str:
        """What searches: one of `BACKENDS`."""
        return self._kept.collection.backend

    @property
    def recall(self) -> dict[str, float] | None:
        """Direction ("text→image", …) -> the share of the exact 10 best that are found, 0…1.

        Measured with 200 entries of the collection as queries when the index was last built or
        added to; None where the search is exact.
        """
        return self._kept.collection.recall

    @property
    def summary(self) -> str:
        """One line on what searches, and how much of the exact answer it finds."""
        if self.recall is None:
            return "exact search"
        shares = ", ".join(f"{direction} {share:.3f}" for direction, share in self.recall.items())
        return f"{self.backend} search, recall@{CHECKED} against exact: {shares}"

    # ------------------------------------------------------------------------ asking

    @overload
    def by_text(self, text: str, k: int = 5) -> list[Hit]: ...
    @overload
    def by_text(self, text: Texts, k: int = 5) -> list[list[Hit]]: ...
    def by_text(self, text: str | Texts, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """The k pictures that fit a text best, the best first; all of them if there are fewer.

        Args:
            text: a text; or a list of them, which are embedded and looked up together.
            k: how many.

        Returns:
            The hits; for a list one such list for each text.

        Raises:
            DataError: a text with nothing in it to be seen, or k below 1.
            TypeError: not a string.
        """
        return self._ask("image", text, k, self._text_queries)

    @overload
    def by_image(self, image: Picture, k: int = 5) -> list[Hit]: ...
    @overload
    def by_image(self, image: Pictures, k: int = 5) -> list[list[Hit]]: ...
    def by_image(self, image: Picture | Pictures, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """The k captions that fit a picture best, the best first; all of them if there are fewer.

        Args:
            image: a file, which is read just as those of the collection were; a PIL image; or a
                uint8 array (H, W), (H, W, 3), (H, W, 4) or (3, H, W); or a list of such.
            k: how many.

        Returns:
            The hits; for a list one such list for each picture.

        Raises:
            MissingFile, DataError: as `read_image`; DataError for another array, or k below 1.
        """
        return self._ask("text", image, k, self._image_queries)

    @overload
    def similar_images(self, image: Picture, k: int = 5) -> list[Hit]: ...
    @overload
    def similar_images(self, image: Pictures, k: int = 5) -> list[list[Hit]]: ...
    def similar_images(self, image: Picture | Pictures, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """The k pictures most like a picture; itself comes first if it is in the collection.

        Takes, gives and raises what `by_image` does, but its hits are pictures.
        """
        return self._ask("image", image, k, self._image_queries)

    @overload
    def similar_captions(self, text: str, k: int = 5) -> list[Hit]: ...
    @overload
    def similar_captions(self, text: Texts, k: int = 5) -> list[list[Hit]]: ...
    def similar_captions(self, text: str | Texts, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """The k captions most like a text; the very same ones come first if there are any.

        Takes, gives and raises what `by_text` does, but its hits are captions.
        """
        return self._ask("text", text, k, self._text_queries)

    def _ask(self, side: str, asked: Any, k: int, embed: Callable[[list[Any]], Tensor]) -> Any:
        several = isinstance(asked, list | tuple)
        if (k := operator.index(k)) < 1:
            raise DataError(f"k is {k}; ask for at least 1 hit")
        if several and not asked:
            return []
        queries = embed(list(asked) if several else [asked])  # (Q, D)
        with self._kept.lock:
            found = self._kept.collection.sides[side].search(queries, k)
            pairs = self._kept.collection.pairs
        answers = [hits_of(pairs, side, scores, rows) for scores, rows in found]
        return answers if several else answers[0]

    def _text_queries(self, texts: list[Any]) -> Tensor:
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(
                    f"a query is one string, or a list of strings, not {type(text).__name__}"
                )
            if not any(sign.isprintable() and not sign.isspace() for sign in text):
                raise DataError(
                    f"the query {text[:20]!r} is empty; say what the picture shows, "
                    'such as "Red bus on the street"'
                )
        return self._queries.texts(texts)

    def _image_queries(self, pictures: list[Any]) -> Tensor:
        size = self.model.image.image_size
        return self._queries.images(np.stack([picture_pixels(one, size) for one in pictures]))

    # ------------------------------------------------------------------------ changing

    def add(self, pairs: Pairs | Store, *, progress: bool = True) -> "SearchIndex":
        """Take in more images with their captions, after those that are there; returns itself.

        Images whose file is in the index already are not added again, so that a call which was
        interrupted can simply be repeated. A folder holds all of the new state or all of the old
        one, whatever happens.

        Raises:
            DataError: as `build`; or the model has changed since the index was built.
        """
        return self._after(self._kept.add(pairs, progress))

    def remove(self, images: Iterable[int] | npt.NDArray[Any]) -> "SearchIndex":
        """Take images out, with their captions; those after them move up. Returns itself.

        Args:
            images: their places in `index.pairs.images`, or a boolean mask of N entries.

        Raises:
            IndexError, TypeError: as `Pairs.subset`.
            DataError: nothing would be left.
        """
        return self._after(self._kept.remove(self.pairs.subset(images)))

    def rebuild(self, backend: str | None = None, *, uri: str | None = None) -> "SearchIndex":
        """Index the embeddings that are there anew, perhaps by another backend; returns itself.

        What was removed takes up no room any more, and the cells of IVF fit what was added.

        Raises:
            DataError: as `build`.
        """
        return self._after(self._kept.rebuild(backend or self.backend, uri))

    def save(self, folder: str | Path) -> "SearchIndex":
        """Keep the index in a folder, which from then on follows every change; returns itself.

        An index that is there is replaced in one move.

        Raises:
            DataError: the folder holds something else, or cannot be written to.
        """
        return self._after(self._kept.save(folder))

    def close(self) -> None:
        """Disconnect from the database, if there is one; it cannot be asked any more then."""
        self._kept.collection.close()

    def __enter__(self) -> "SearchIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _after(self, now: Collection) -> "SearchIndex":
        self.pairs = now.pairs
        self.image_emb, self.text_emb = now.sides["image"].emb, now.sides["text"].emb
        return self
