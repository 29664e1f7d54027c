"""Search with the vector database Milvus: Milvus Lite in this process, or a cluster.

Both are used through the same client. A collection of the database holds the distinct vectors of
one side under their ids, as a FAISS index does, and nothing else: captions and file names stay in
the index folder. Where a killed process left the two different, `reconcile` makes the database hold
what the folder says.
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
from mmret_lib.files.places import user_path
from mmret_lib.search.faiss_index import HNSW_CANDIDATES, HNSW_LINKS, Floats, Ids

BYTES_AT_ONCE = 4 * 2**20  # of vectors in one request; Milvus accepts 64 MB
ROWS_AT_ONCE = 16_384  # queries, or answers, that Milvus accepts in one request
TIMEOUT = 20  # seconds to wait for a connection
NO_KEEPALIVE = 2**31 - 1  # what gRPC takes for "never"

_users: dict[str, int] = {}  # Milvus Lite file -> how many objects of this process use it
# Without the lock, two threads could start two servers for one file, or one could connect to a
# server that another is stopping.
_lock = threading.Lock()


def check_uri(uri: str) -> None:
    """Raise DataError unless this is a cluster's address or a ….db file, without a password."""
    if not isinstance(uri, str) or not uri.strip():
        raise DataError('uri is empty; give "http://host:19530", or a file such as "vectors.db"')
    if "://" not in uri:
        if not uri.endswith(".db"):
            raise DataError(
                f'{visible(uri)} is no address of Milvus: give "http://host:19530" for a cluster, '
                'or a file that ends in ".db" for Milvus Lite'
            )
        return
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


class MilvusIndex:
    """One collection of a Milvus database, as an index over unit vectors.

    Args:
        uri: the address of a cluster, or the path of a Milvus Lite file, created if missing.
        token: "user:password" or a key, for a cluster that requires one.
        name: of the collection.
        effort: how many candidates a query looks at (Milvus's "ef").

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
            self.uri = uri = str(user_path(uri).absolute())
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
        with _lock if self.lite else nullcontext(), self._errors("connecting"):
            self.client = _connect(uri, token)
            if self.lite:
                _users[uri] = _users.get(uri, 0) + 1
        self.open = True

    def create(self, emb: Floats, ids: Ids, rows: Ids) -> None:
        """Create the collection, which must not exist yet, with emb[rows] (n, D) under ids (n,)."""
        from pymilvus import DataType

        with self._errors("making a collection"):
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
                params={"M": HNSW_LINKS, "efConstruction": HNSW_CANDIDATES},
            )
            self.client.create_index(self.name, settings)
            self.client.load_collection(self.name)

    def load(self) -> None:
        """Load an existing collection, so that it can be searched."""
        with self._errors("loading a collection"):
            if not self.client.has_collection(self.name):
                raise DataError(
                    f"{self.where()} has no collection {self.name}, which the index folder counts "
                    "on; make the index anew: mmret index RUN FOLDER --backend milvus"
                )
            self.client.load_collection(self.name)

    def _insert(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        batch = max(1, BYTES_AT_ONCE // (4 * emb.shape[1]))
        for start in range(0, len(ids), batch):
            part = np.ascontiguousarray(emb[rows[start : start + batch]], np.float32)
            numbers = ids[start : start + batch].tolist()
            data = [{"id": id_, "vector": row} for id_, row in zip(numbers, part, strict=True)]
            self.client.insert(self.name, data)
        self.client.flush(self.name)

    def add(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        """Add emb[rows] (n, D) under the ids (n,)."""
        with self._errors("adding vectors"):
            self._insert(ids, emb, rows)

    def remove(self, ids: Ids) -> None:
        """Delete these ids (n,)."""
        with self._errors("removing vectors"):
            for start in range(0, len(ids), ROWS_AT_ONCE):
                self.client.delete(self.name, ids=ids[start : start + ROWS_AT_ONCE].tolist())
            self.client.flush(self.name)

    def search(self, queries: Floats, k: int) -> Ids:
        """Return the ids (Q, k) of the highest cosines with (Q, D), -1 where too few."""
        nearest = np.full((len(queries), k), -1, np.int64)
        with self._errors("searching"):
            for start in range(0, len(queries), ROWS_AT_ONCE):
                answers = self.client.search(
                    self.name,
                    data=list(queries[start : start + ROWS_AT_ONCE]),
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
                    nearest[place, : len(ids)] = ids
        return nearest

    def count(self) -> int:
        """Count the vectors, including those that were just added."""
        with self._errors("counting"):
            answer = self.client.query(self.name, filter="", output_fields=["count(*)"])
            return int(answer[0]["count(*)"])

    def reconcile(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        """Make the collection hold emb[rows] under the ids (n,), ascending, and nothing else.

        Raises:
            DataError: the database holds another number of vectors afterwards.
        """
        with self._errors("comparing"):
            end = int(ids[-1]) + 1 if len(ids) else 0
            self.client.delete(self.name, filter=f"id >= {end}")
            self.client.delete(self.name, filter="id < 0")
            parts = [np.empty(0, np.int64)]
            for start in range(0, end, ROWS_AT_ONCE):
                span = f"id >= {start} and id < {min(start + ROWS_AT_ONCE, end)}"
                answer = self.client.query(
                    self.name, filter=span, output_fields=["id"], limit=ROWS_AT_ONCE
                )
                parts.append(np.array([row["id"] for row in answer], np.int64))
        present = np.concatenate(parts)
        self.remove(np.setdiff1d(present, ids))
        missing = ~np.isin(ids, present)
        self.add(ids[missing], emb, rows[missing])
        if self.count() != len(ids):
            raise DataError(
                f"{self.where()} holds {self.count():,} vectors in {self.name} instead of "
                f"{len(ids):,}; build the index anew: mmret index RUN FOLDER --backend milvus"
            )

    def drop_others(self, keep: set[str]) -> None:
        """Delete the same folder's other collections, which a rebuild or a kill left behind."""
        family = self.name.rsplit("_", 2)[0]  # without key and side
        with self._errors("tidying"):
            for name in self.client.list_collections():
                if name.rsplit("_", 2)[0] == family and name not in keep:
                    self.client.drop_collection(name)

    def where(self) -> str:
        """Name the database in messages."""
        return f"Milvus{' Lite' if self.lite else ''} at {visible(self.uri)}"

    def close(self) -> None:
        """Disconnect; another process can then open a Milvus Lite file."""
        if not self.open:
            return
        self.open = False
        self.client.close()
        if self.lite:
            from milvus_lite.server_manager import (  # type: ignore[import-untyped]
                server_manager_instance,
            )

            with _lock:
                _users[self.uri] -= 1
                if not _users[self.uri]:
                    server_manager_instance.release_server(self.uri)

    @contextmanager
    def _errors(self, task: str) -> Iterator[None]:
        """Turn any error of the client into a DataError that says where and what to do."""
        try:
            yield
        except DataError:
            raise
        except ImportError as error:
            raise DataError(
                "the vector database needs pymilvus, and Milvus Lite for a file, which are not "
                'installed here. Install them with: pip install "pymilvus[milvus_lite]". The exact '
                'search (backend="exact") needs neither'
            ) from error
        except Exception as error:  # its own, the protocol's, and ValueErrors for addresses
            reason = visible(str(getattr(error, "message", "") or error)).strip()
            reason = (reason.splitlines() or [type(error).__name__])[0][:300]
            remedy = (
                "another process may have the file open: close it there, or use a cluster, or "
                'backend="hnsw", which any number of processes can read'
                if self.lite
                else "check that it runs there, and the token"
            )
            raise DataError(f"{self.where()} failed while {task} ({reason}); {remedy}") from error


def _connect(uri: str, token: str | None) -> Any:
    from pymilvus import MilvusClient

    log = logging.getLogger("milvus_lite")
    level = log.level
    log.setLevel(logging.CRITICAL)  # else it prints a traceback before the error
    # While Milvus Lite's server builds a large graph for minutes, it breaks off a connection that
    # pings it every 10 s, as this client does. It runs in this process and needs no pings.
    options = {} if "://" in uri else {"grpc.keepalive_time_ms": NO_KEEPALIVE}
    try:
        return MilvusClient(uri, token=token or "", timeout=TIMEOUT, grpc_options=options)
    finally:
        log.setLevel(level)
