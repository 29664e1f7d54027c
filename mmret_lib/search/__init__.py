"""Search: embed a collection once, then find images for a text and texts for an image.

`index` is what a user calls; `collection` holds the embeddings, `folder` keeps them on disk;
`faiss_index` and `milvus_index` search approximately where exact search is too slow; `hits` are the
answers, and `right_answers` says which of them are right.
"""

from mmret_lib.search.hits import Hit
from mmret_lib.search.index import BACKENDS, SearchIndex

__all__ = ["BACKENDS", "Hit", "SearchIndex"]
