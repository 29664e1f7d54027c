"""Queries: embedded in batches, and remembered."""

import threading

import torch
from small_models import mini

from mmret_lib.search.embed import MAX_REMEMBERED, Queries, fingerprint


class Model:
    """Counts what it embeds."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        self.batches.append(list(texts))
        return torch.tensor([[len(text), 1.0] for text in texts])


def test_a_text_is_embedded_once_and_a_batch_together():
    model = Model()
    queries = Queries(model)  # type: ignore[arg-type]
    first = queries.texts(["a", "bb", "a"])
    torch.testing.assert_close(first[0], torch.tensor([1.0, 1.0]) / 2**0.5)
    assert torch.equal(first[0], first[2])
    assert torch.equal(queries.texts(["bb", "ccc"])[0], first[1])
    assert model.batches == [["a", "bb"], ["ccc"]]


def test_what_is_remembered_is_bounded_and_the_last_used_stays():
    model = Model()
    queries = Queries(model)  # type: ignore[arg-type]
    queries.texts(["first"])
    for start in range(0, 2 * MAX_REMEMBERED, 100):
        queries.texts([f"text {number}" for number in range(start, start + 100)])
        queries.texts(["first"])
    queries.texts(["x" * 100_000])
    assert len(queries.remembered) == MAX_REMEMBERED and max(map(len, queries.remembered)) < 100
    assert sum("first" in batch for batch in model.batches) == 1
    assert len(queries.texts([f"new {n}" for n in range(2 * MAX_REMEMBERED)])) == 2 * MAX_REMEMBERED


def test_queries_of_several_threads_do_not_mix():
    queries = Queries(Model())  # type: ignore[arg-type]
    wrong = []

    def ask(start: int) -> None:
        for length in range(start, start + 200):
            emb = queries.texts(["x" * length, "y" * (length + 1)])
            if not torch.allclose(emb[:, 0] / emb[:, 1], torch.tensor([length, length + 1.0])):
                wrong.append(length)

    threads = [threading.Thread(target=ask, args=(start,)) for start in (1, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_another_crop_is_another_model():
    model = mini()
    whole = fingerprint(model)
    model.image.crop = 0.875
    assert len({whole, fingerprint(model)}) == 2
