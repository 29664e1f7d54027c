"""Measure the search of a million vectors: exact, by FAISS (flat, HNSW, IVF), by Milvus Lite.

    python benchmarks/search.py                        1,000,000 vectors, 6 to 15 minutes
    python benchmarks/search.py --size 20000 --out ""  a trial, which writes nothing

Each backend has a process of its own, with the settings that `SearchIndex.build` would use: it
indexes the vectors, raises its effort until recall@10 is 0.97 on a sample of 200 queries, and then
answers 1,000 other queries, one by one and in batches of 250.

The vectors are made up, because a million real embeddings would need a million photos. They are
drawn from a mixture (seed 0): 5,000 concepts of unequal frequency (the k-th most frequent in
proportion to 1/(k + 10)) in 24 shared dimensions of 128; around each its examples, spread half as
wide as the concepts, and noise in all 128. The queries are other examples with half as much noise
again and one offset in common, as the captions of a picture lie in a cone of their own beside the
pictures. Recall on real embeddings differs: `SearchIndex` measures it on those that it holds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmret_lib.search.milvus_index import MilvusIndex
from mmret_lib.search.vectors import Vectors
from mmret_lib.training import made_by

DIM, CONCEPTS, SHARED = 128, 5000, 24
QUERIES, BATCH, SECONDS, HITS = 1000, 250, 6.0, 10
BACKENDS = ("exact", "flat", "hnsw", "ivf", "milvus")
HERE = Path(__file__).parent
COLUMNS = {
    "build_s": "built in s",
    "effort": "effort",
    "private_mib": "private MiB",
    "disk_mib": "disk MiB",
    "single": "queries/s, one by one",
    "batched": "queries/s, batched",
    "recall": "recall@10",
    "lowest": "worst query",
}


# Read in milvus_lite 3.2.2, search/executor_indexed.py.
MILVUS_LITE = """
Milvus Lite goes through the numbers of all its rows, in Python, at every call: one query at a time
pays for that alone, a batch shares it. Milvus itself, as a service, is another program and was not
measured.
"""


def draw(count: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Draw unit vectors (count, D) from the mixture."""
    world = np.random.default_rng(0)
    basis = world.normal(size=(SHARED, DIM)).astype(np.float32) / np.sqrt(SHARED)
    concepts = world.normal(size=(CONCEPTS, SHARED)).astype(np.float32)
    share = 1 / (np.arange(CONCEPTS) + 10)
    which = rng.choice(CONCEPTS, count, p=share / share.sum())
    place = concepts[which] + 0.5 * rng.standard_normal((count, SHARED), np.float32)
    emb = place @ basis + noise * rng.standard_normal((count, DIM), np.float32)
    return unit(emb)


def unit(emb: np.ndarray) -> np.ndarray:
    return (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)


def make(folder: Path, size: int) -> None:
    rng = np.random.default_rng(1)
    out = np.lib.format.open_memmap(folder / "emb.npy", mode="w+", dtype="f4", shape=(size, DIM))
    for start in range(0, size, 2**16):
        out[start : start + 2**16] = draw(len(out[start : start + 2**16]), rng, 0.2)
    offset = 0.3 * np.random.default_rng(2).normal(size=DIM).astype(np.float32) / np.sqrt(DIM)
    for name, count in (("sample", 200), ("queries", QUERIES)):
        asked = draw(count, rng, 0.3) + offset
        np.save(folder / name, unit(asked))


def private_mib() -> float:
    """Memory of this process without files mapped into it, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def measure(backend: str, folder: Path) -> dict[str, Any]:
    emb = np.load(folder / "emb.npy", mmap_mode="c")
    sample, queries = (
        torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("sample", "queries")
    )
    if backend != "exact":
        import_module({"milvus": "pymilvus"}.get(backend, "faiss"))  # no part of what is measured
    before, began = private_mib(), time.perf_counter()
    vectors = Vectors(torch.from_numpy(emb))
    if backend != "exact":
        file = str(folder / "vectors.db")
        database = MilvusIndex(file, None, "bench_image") if backend == "milvus" else None
        vectors = Vectors.build(vectors.emb, backend, database)
        vectors.raise_effort({"sample": sample})
    row: dict[str, Any] = {"build_s": time.perf_counter() - began}
    row["effort"] = vectors.index.effort if vectors.index else None
    row["private_mib"] = private_mib() - before
    files = [path for path in folder.rglob("vectors.db/**/*") if path.is_file()]
    row["disk_mib"] = sum(path.stat().st_size for path in files) / 2**20
    vectors.search(queries[:2], HITS)  # maps what has not been read yet
    began, count = time.perf_counter(), 0
    while count < QUERIES and (passed := time.perf_counter() - began) < SECONDS:
        vectors.search(queries[count : count + 1], HITS)
        count += 1
    row["single"] = count / passed
    began = time.perf_counter()
    found = [answer for part in queries.split(BATCH) for answer in vectors.search(part, HITS)]
    row["batched"] = QUERIES / (time.perf_counter() - began)
    scores = torch.tensor([scores for scores, _ in found])
    truth = folder / "truth.npy"
    if backend == "exact":
        np.save(truth, scores[:, -1:].numpy())
    hit = (scores >= torch.from_numpy(np.load(truth)) - 1e-6).float().mean(dim=1)
    row["recall"], row["lowest"] = float(hit.mean()), float(hit.min())
    if vectors.index:
        vectors.index.close()
    return row


def table(rows: dict[str, Any]) -> str:
    frame = pd.DataFrame(rows).T
    lines = [f"| backend | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for backend, row in frame.iterrows():
        cells = [
            ""
            if row[name] is None or pd.isna(row[name])
            else f"{row[name]:.3f}"
            if name in ("recall", "lowest")
            else f"{row[name]:,.0f}"
            if row[name] >= 10
            else f"{row[name]:.1f}"
            for name in COLUMNS
        ]
        lines.append(f"| {backend} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--out", default=str(HERE / "results"), help='folder; "" writes nothing')
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child, args.folder)))
        return
    backends = dict.fromkeys(["exact", *args.backends])  # the others are compared with it
    rows: dict[str, Any] = {}
    failed: list[str] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), args.size)
        for backend in backends:
            command = [sys.executable, __file__, "--child", backend, "--folder", name]
            environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE)
            if done.returncode:  # the others' minutes are not lost for it
                failed.append(backend)
                continue
            rows[backend] = json.loads(done.stdout.decode().splitlines()[-1])
            print(backend, {key: value and round(value, 3) for key, value in rows[backend].items()})
    minutes = (time.perf_counter() - began) / 60
    text = (
        f"# Searching {args.size:,} vectors\n\n"
        f"`python benchmarks/search.py --size {args.size} --backends {' '.join(backends)}`, "
        f"{torch.get_num_threads()} threads, "
        f"{json.dumps(made_by())}; {minutes:.1f} minutes.\n\n"
        f"{args.size:,} made-up unit vectors of {DIM} numbers, a mixture that benchmarks/search.py "
        f"describes; {QUERIES:,} queries for {HITS} hits, batches of {BATCH}. Building includes "
        "raising the effort (efSearch, nprobe) until 200 other queries reach a recall of 0.97. "
        "Private memory is what the process gained that no file stands behind; the vectors "
        f"themselves ({args.size * DIM * 4 / 2**20:,.0f} MiB) are mapped from a file, and FAISS "
        "and Milvus Lite hold copies.\n\n"
        + table(rows)
        + "\n"
        + (MILVUS_LITE if "milvus" in rows else "")
        + (f"\nFailed, and why is in the output: {', '.join(failed)}.\n" if failed else "")
    )
    print(text)
    if args.out:
        record = {
            "size": args.size,
            "dim": DIM,
            "queries": QUERIES,
            "batch": BATCH,
            "threads": torch.get_num_threads(),
            "made_by": made_by(),
            "rows": rows,
        }
        out = Path(args.out)
        (out / "search.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (out / "search.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
