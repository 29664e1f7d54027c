"""Measure reading a packed store, in a process of its own; `loader.py` starts it.

    python benchmarks/read_store.py STORE VOCABULARY SECONDS

VOCABULARY is a file with the name of the tokeniser whose word pieces are in the store already.
Prints JSON: images/s of the first pass over the store and of the passes after it, and the private
memory (Linux's RssAnon, MiB) of the libraries alone and of the whole process.
"""

import json
import sys
import time
from pathlib import Path


def private_mebibytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell a process's private memory")


class Known:
    """Stands for a tokeniser whose word pieces are in the store already."""

    def __init__(self, path: str) -> None:
        self.text = Path(path).read_text(encoding="utf-8")

    def vocabulary(self) -> str:
        return self.text

    def tokenize(self, texts):
        raise SystemExit("the store lacks the word pieces that it should have")


def main() -> None:
    from mmret_lib.data.loader import Loader
    from mmret_lib.data.store import Store

    folder, vocabulary, seconds = sys.argv[1:]
    libraries = private_mebibytes()
    store = Store.open(folder)
    loader = Loader(store, store.token_ids(Known(vocabulary)), 256)

    def passed(number: int) -> int:
        return sum(len(batch.images) for batch in loader.epoch(number))

    started = time.perf_counter()
    first = passed(0) / (time.perf_counter() - started)
    started, count, number = time.perf_counter(), 0, 1
    while (spent := time.perf_counter() - started) < float(seconds):
        count, number = count + passed(number), number + 1
    print(
        json.dumps(
            {
                "first_pass_images_per_second": round(first),
                "images_per_second": round(count / spent),
                "libraries_mebibytes": round(libraries),
                "private_mebibytes": round(private_mebibytes()),
            }
        )
    )


if __name__ == "__main__":
    main()
