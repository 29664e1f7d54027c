"""Search: embed a collection once, then find images for a text and texts for an image.

`index` is what a user calls; `embed` computes the embeddings and `cache` keeps them between
commands; `collection` holds them, and `vectors` searches one side. `folder` keeps an index on disk,
`draft` writes its next state, and `photos` makes that of a folder of photos follow the folder.
`faiss_index` and `milvus_index` search approximately where exact search is too slow. `query` tells
a text from a picture's path; `hits` are the answers, and `right_answers` says which are right.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmret_lib.search.hits import Hit
    from mmret_lib.search.index import BACKENDS, SearchIndex

__all__ = ["BACKENDS", "Hit", "SearchIndex"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `mmret search` looks at its query before it waits for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.index"), name)
