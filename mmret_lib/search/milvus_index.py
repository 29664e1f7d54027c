"""Search in a vector database, Milvus: the embedded Milvus Lite, or a cluster by its address.

Both speak the same protocol through the same client. A collection of the database holds the
distinct vectors of one side under their numbers, as a FAISS index does, and nothing else: captions
and file names stay in the index folder. That folder is the truth. Whatever a killed process left
in the database, `reconcile` makes the two agree again.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from mmret_lib.files.errors import DataError, visible
from mmret_lib.search.faiss_index import CARE, LINKS, Floats, Ids

BYTES = 4 * 2**20  # of vectors that travel at a time; Milvus takes 64 MB
MOST = 16_384  # queries, or rows, that Milvus answers at a time
PATIENCE = 20  # seconds to wait for a connection
NEVER = 2**31 - 1  # gRPC's word for no keepalive

_opened: dict[str, int] = {}  # Milvus Lite files of this process -> how many use each
# Two threads that start the server of one file at a time make two, of which one fails; and one
# that starts while another stops it gets one that is on its way out.
_lock = threading.Lock()


def checked_uri(uri: str) -> str:
    """The address of a cluster, or the path of a Milvus Lite file, fit to be written down.

    Raises:
        DataError: it is neither, or holds a password.
    """
    if not isinstance(uri, str) or not uri.strip():
        raise DataError('uri is empty; give "http://host:19530", or a file such as "vectors.db"')
    if "://" not in uri:
        if not uri.endswith(".db"):
            raise DataError(
                f'{visible(uri)} is no address of Milvus: give "http://host:19530" for a cluster, '
                'or a file that ends in ".db" for Milvus Lite'
            )
        return uri
    try:
        parts = urlsplit(uri)
        known = parts.scheme in ("http", "https", "tcp") and parts.hostname
    except ValueError:
        known = None
    if not known:
        raise DataError(f'{visible(uri)} is no address of Milvus, such as "http://host:19530"')
    if parts.username or parts.password:
        raise DataError(
            "the address holds a user's name or password, and would be written into the index "
            'folder; give them as token="user:password" instead (MILVUS_TOKEN on the command line)'
        )
    return uri


class MilvusIndex:
    """One collection of a Milvus database, as an index over unit vectors.

    Args:
        uri: as `checked_uri` gives it; a file is made where there is none.
        token: "user:password" or a key, for a cluster that asks for one.
        name: of the collection.

    Raises:
        DataError: pymilvus is not installed, or the database does not answer.
    """

    kind = "milvus"
    most_effort = 1024

    def __init__(self, uri: str, token: str | None, name: str, effort: int = 64) -> None:
        self.uri, self.token, self.name, self.effort = uri, token, name, effort
        self.lite = "://" not in uri
        self.open = False
        if self.lite:
            # Two clients of one file share one server in this process; the last one closes it.
            self.uri = uri = str(Path(uri).absolute())
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
        with _lock if self.lite else nullcontext(), self._says("connecting"):
            self.client = _connect(uri, token)
            if self.lite:
                _opened[uri] = _opened.get(uri, 0) + 1
        self.open = True

    def create(self, emb: Floats, ids: Ids, rows: Ids) -> None:
        """Make the collection, which must not be there, of emb[rows] under the ids."""
        from pymilvus import DataType

        with self._says("making a collection"):
            schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=emb.shape[1])
            self.client.create_collection(self.name, schema=schema, consistency_level="Strong")
            self._insert(ids, emb, rows)
            # After the vectors, so that the graph is built over all of them at once.
            settings = self.client.prepare_index_params()
            settings.add_index(
                "vector",
                index_type="HNSW",
                metric_type="COSINE",
                params={"M": LINKS, "efConstruction": CARE},
            )
            self.client.create_index(self.name, settings)
            self.client.load_collection(self.name)

    def load(self) -> None:
        """Make a collection that is there ready to answer."""
        with self._says("loading a collection"):
            if not self.client.has_collection(self.name):
                raise DataError(
                    f"{self.where()} has no collection {self.name}, which the index folder counts "
                    "on; make the index anew: mmret index RUN FOLDER --backend milvus"
                )
            self.client.load_collection(self.name)

    def _insert(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        batch = max(1, BYTES // (4 * emb.shape[1]))
        for start in range(0, len(ids), batch):
            part = np.ascontiguousarray(emb[rows[start : start + batch]], np.float32)
            numbers = ids[start : start + batch].tolist()
            data = [{"id": id_, "vector": row} for id_, row in zip(numbers, part, strict=True)]
            self.client.insert(self.name, data)
        self.client.flush(self.name)

    def add(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        with self._says("adding vectors"):
            self._insert(ids, emb, rows)

    def remove(self, ids: Ids) -> None:
        with self._says("removing vectors"):
            for start in range(0, len(ids), MOST):
                self.client.delete(self.name, ids=ids[start : start + MOST].tolist())
            self.client.flush(self.name)

    def search(self, queries: Floats, k: int) -> Ids:
        found = np.full((len(queries), k), -1, np.int64)
        with self._says("searching"):
            for start in range(0, len(queries), MOST):
                answers = self.client.search(
                    self.name,
                    data=list(queries[start : start + MOST]),
                    anns_field="vector",
                    limit=k,
                    output_fields=["id"],
                    search_params={
                        "metric_type": "COSINE",
                        "params": {"ef": max(self.effort, k)},
                    },
                )
                for place, hits in enumerate(answers, start):
                    ids = [hit["id"] for hit in hits]
                    found[place, : len(ids)] = ids
        return found

    def count(self) -> int:
        """How many vectors the collection holds, those still in transit included."""
        with self._says("counting"):
            answer = self.client.query(self.name, filter="", output_fields=["count(*)"])
            return int(answer[0]["count(*)"])

    def reconcile(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        """Make the collection hold emb[rows] under the ids (n,), ascending, and nothing else.

        Raises:
            DataError: it does not, after all.
        """
        with self._says("comparing"):
            end = int(ids[-1]) + 1 if len(ids) else 0
            self.client.delete(self.name, filter=f"id >= {end}")
            self.client.delete(self.name, filter="id < 0")
            there = [np.empty(0, np.int64)]
            for start in range(0, end, MOST):
                span = f"id >= {start} and id < {min(start + MOST, end)}"
                answer = self.client.query(self.name, filter=span, output_fields=["id"], limit=MOST)
                there.append(np.array([row["id"] for row in answer], np.int64))
        found = np.concatenate(there)
        self.remove(np.setdiff1d(found, ids))
        missing = ~np.isin(ids, found)
        self.add(ids[missing], emb, rows[missing])
        if self.count() != len(ids):
            raise DataError(
                f"{self.where()} holds {self.count():,} vectors in {self.name} where "
                f"{len(ids):,} were put"
            )

    def drop_others(self, keep: set[str]) -> None:
        """Delete the same folder's other collections: what rebuilding or a kill left behind."""
        family = self.name.rsplit("_", 2)[0]  # without key and side
        with self._says("tidying"):
            for name in self.client.list_collections():
                if name.rsplit("_", 2)[0] == family and name not in keep:
                    self.client.drop_collection(name)

    def where(self) -> str:
        return f"Milvus{' Lite' if self.lite else ''} at {visible(self.uri)}"

    def close(self) -> None:
        """Disconnect; a Milvus Lite file can then be opened by another process."""
        if not self.open:
            return
        self.open = False
        self.client.close()
        if self.lite:
            from milvus_lite.server_manager import (  # type: ignore[import-untyped]
                server_manager_instance,
            )

            with _lock:
                _opened[self.uri] -= 1
                if not _opened[self.uri]:
                    server_manager_instance.release_server(self.uri)

    @contextmanager
    def _says(self, task: str) -> Iterator[None]:
        """Turn what the client raises into a DataError that says where and what to do."""
        try:
            yield
        except DataError:
            raise
        except ImportError as error:
            raise DataError(
                "the vector database needs pymilvus, and Milvus Lite for a file, which are not "
                'installed here. Install them with: pip install "mmret[search]". The exact search '
                '(backend="exact") needs neither'
            ) from error
        except Exception as error:  # its own, the protocol's, and ValueErrors for addresses
            said = visible(str(getattr(error, "message", "") or error)).strip()
            said = (said.splitlines() or [type(error).__name__])[0][:300]
            remedy = (
                "another process may have the file open: close it there, or use a cluster, or "
                'backend="hnsw", which any number of processes can read'
                if self.lite
                else "check that it runs there, and the token"
            )
            raise DataError(f"{self.where()} failed while {task} ({said}); {remedy}") from error


def _connect(uri: str, token: str | None) -> Any:
    from pymilvus import MilvusClient

    log = logging.getLogger("milvus_lite")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it prints a traceback before the error that says the same
    # Milvus Lite's server breaks off a connection that is asked every 10 s whether it is alive, as
    # this client asks, while it makes a graph of many vectors for minutes. It lives in this process
    # and needs no asking.
    options = {} if "://" in uri else {"grpc.keepalive_time_ms": NEVER}
    try:
        return MilvusClient(uri, token=token or "", timeout=PATIENCE, grpc_options=options)
    finally:
        log.setLevel(level)
