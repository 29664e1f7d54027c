"""Compare exact evaluation with its peers: time, memory, and whether the ranks are right.

    python benchmarks/evaluation.py               with all of COCO's size at the end; 15 minutes
    python benchmarks/evaluation.py --skip-coco   without; 3 minutes

5,000 images and 25,000 captions, D = 128, both directions, as on COCO's 5K test split. The bare
product is the least that a method with all scores has to compute; the peers are the ways in which
the field's code evaluates. torchmetrics' retrieval metrics take one row of a table per score and
loop over the queries in Python, so they are timed on 1,000 images.

The embeddings are made up (seed 0): an image is a random vector, each of its five captions that
vector and so much noise that about half of the captions find their image first.

Needs the extra `bench`.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from loader import machine  # the scripts beside this one
from losses import fresh, resident
from torch import Tensor

from mmret_lib.metrics import evaluate

HERE = Path(__file__).parent
DIM, EACH, NOISE = 128, 5, 3.2
COCO = 123_287  # images of COCO 2014, train and val
Pool = tuple[Tensor, Tensor, Tensor]


def pool(images: int) -> Pool:
    """Make image_emb (N, D), text_emb (5 N, D), rows of length 1, and owner (5 N,)."""
    generator = torch.Generator().manual_seed(0)
    image_emb = torch.randn(images, DIM, generator=generator)
    owner = torch.arange(images).repeat_interleave(EACH)
    text_emb = torch.empty(len(owner), DIM)
    for part in torch.arange(len(owner)).split(2**16):  # at COCO's size, no copies of the whole
        text_emb[part] = image_emb[owner[part]]
        text_emb[part] += NOISE * torch.randn(len(part), DIM, generator=generator)
    return F.normalize(image_emb, dim=1), F.normalize(text_emb, dim=1), owner


# ---------------------------------------------------------------------------- what is compared


def product(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> Tensor:
    return image_emb @ text_emb.T


def sorted_one_by_one(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> tuple:
    """Sort each query's answers and look up the place of the right one, as VSE++ does, in NumPy."""
    images, texts, owners = image_emb.numpy(), text_emb.numpy(), owner.numpy()
    i2t, t2i = np.empty(len(images)), np.empty(len(texts))
    for i, image in enumerate(images):
        order = np.argsort(-(texts @ image))
        i2t[i] = np.flatnonzero(owners[order] == i)[0]
    for j, text in enumerate(texts):
        order = np.argsort(-(images @ text))
        t2i[j] = np.flatnonzero(order == owners[j])[0]
    return i2t, t2i


def sorted_at_once(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> tuple:
    """Sort the whole matrix both ways, as open_clip's training script does, in torch."""
    scores = image_emb @ text_emb.T
    ranking = torch.argsort(scores, dim=1, descending=True)
    i2t = (owner[ranking] == torch.arange(len(image_emb))[:, None]).float().argmax(dim=1)
    ranking = torch.argsort(scores.T, dim=1, descending=True)
    t2i = (ranking == owner[:, None]).float().argmax(dim=1)
    return i2t.double().numpy(), t2i.double().numpy()


def top_ten(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> tuple:
    """Take the ten best answers of each query: gives recall@1, 5 and 10, but no ranks."""
    scores = image_emb @ text_emb.T
    return scores.topk(10, dim=1).indices, scores.T.topk(10, dim=1).indices


def ours(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> tuple:
    report = evaluate(image_emb, text_emb, owner)
    return report.i2t.ranks, report.t2i.ranks


def torchmetrics_hits(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> tuple[float, float]:
    """Measure R@1 both ways, in percent, with torchmetrics."""
    from torchmetrics.retrieval import RetrievalHitRate

    scores = image_emb @ text_emb.T
    right = owner[None, :] == torch.arange(len(image_emb))[:, None]
    found = []
    for matrix, target in ((scores, right), (scores.T, right.T)):
        queries = torch.arange(len(matrix))[:, None].expand_as(matrix)
        metric = RetrievalHitRate(top_k=1)
        metric.update(matrix.reshape(-1), target.reshape(-1), indexes=queries.reshape(-1))
        found.append(100 * metric.compute().item())
    return found[0], found[1]


NAMES: dict[str, Callable] = {
    "the bare product": product,
    "mmret evaluate": ours,
    "top 10 by torch.topk: recalls, no ranks": top_ten,
    "argsort of the whole matrix, torch": sorted_at_once,
    "argsort query by query, NumPy": sorted_one_by_one,
}


# ---------------------------------------------------------------------------- measuring


def in_turn(methods: dict[str, Callable], data: Pool, rounds: int) -> dict[str, list[float]]:
    """Time the methods in turn, in seconds, after a round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, method in methods.items():
            began = time.perf_counter()
            method(*data)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def peak_memory(name: str, images: int) -> float:
    """Measure in a fresh process by how many MiB a method raises the peak memory."""
    data = pool(images)
    NAMES[name](*pool(50))  # what libraries allocate once is not the method's
    Path("/proc/self/clear_refs").write_text("5")  # the past peak is forgotten
    before = resident("VmRSS")
    NAMES[name](*data)
    return resident("VmHWM") - before


def against_the_oracle(image_emb: Tensor, text_emb: Tensor, owner: Tensor) -> dict[str, int]:
    """Count ranks that differ from a float64 matrix's, where scores differ by more than 1e-6."""
    i2t, t2i = ours(image_emb, text_emb, owner)
    images, texts = (F.normalize(emb.double(), dim=1) for emb in (image_emb, text_emb))
    scores = images @ texts.T
    own = owner == torch.arange(len(images))[:, None]
    best = scores.masked_fill(~own, -2).amax(dim=1)  # (N,)
    mine = scores[owner, torch.arange(len(texts))]  # (M,)
    scores.masked_fill_(own, -2)
    found = {"queries": 0, "clear": 0, "clear_and_equal": 0, "within": 0}
    for ranks, matrix, target in ((i2t, scores, best), (t2i, scores.T, mine)):
        fewest = (matrix > target[:, None] + 1e-6).sum(dim=1).numpy()
        most = (matrix >= target[:, None] - 1e-6).sum(dim=1).numpy()
        clear = fewest == most
        found["queries"] += len(ranks)
        found["clear"] += int(clear.sum())
        found["clear_and_equal"] += int((ranks == fewest)[clear].sum())
        found["within"] += int(((ranks >= fewest) & (ranks <= most)).sum())
    return found


def all_of_coco(images: int) -> dict[str, float]:
    """Measure in a fresh process time and memory for COCO's size, and time of the products alone.

    The products are computed tile by tile, because all scores together would take 300 GB.
    """
    data = pool(images)
    image_emb, text_emb, _ = data
    room = torch.empty(2048, 2048)

    def products() -> None:
        for rows in image_emb.split(2048):
            for columns in text_emb.split(2048):
                torch.mm(rows, columns.T, out=room[: len(rows), : len(columns)])

    ours(*pool(50))
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident("VmRSS"), time.perf_counter()
    report = evaluate(*data)
    seconds = time.perf_counter() - began
    memory = resident("VmHWM") - before
    began = time.perf_counter()
    products()
    return {
        "images": images,
        "captions": len(text_emb),
        "seconds": seconds,
        "mebibytes": memory,
        "embeddings_mebibytes": (image_emb.nbytes + text_emb.nbytes) / 2**20,
        "products_seconds": time.perf_counter() - began,
        "i2t_r1": report.i2t.recall[1],
        "t2i_r1": report.t2i.recall[1],
    }


# ---------------------------------------------------------------------------- reporting


def verdict(value: float, bar: float, *, most: bool) -> str:
    met = value <= bar if most else value >= bar
    return f"bar: at {'most' if most else 'least'} {bar:g}; {'met' if met else 'MISSED'}"


def text(record: dict) -> str:
    middle = {name: statistics.median(times) for name, times in record["seconds"].items()}
    floor, mine = middle["the bare product"], middle["mmret evaluate"]
    memory, oracle = record["memory"], record["oracle"]
    slowest = middle["argsort query by query, NumPy"] / mine
    small = {name: statistics.median(times) for name, times in record["small"].items()}
    lines = [
        "# Exact evaluation",
        "",
        f"`{record['command']}`, on {record['machine']}. Load of the machine over the minute "
        f"before: {record['load']:.1f}.",
        "",
        f"{record['images']:,} images x {EACH * record['images']:,} captions, D = {DIM}, both "
        f"directions; median of {record['rounds']} rounds, which go through all in turn; memory is "
        "the peak of a fresh process less what it held before.",
        "",
        "| method | s | fastest … slowest | × bare product | extra MiB |",
        "|---|---|---|---|---|",
    ]
    for name, times in record["seconds"].items():
        lines.append(
            f"| {name} | {middle[name]:.2f} | {min(times):.2f} … {max(times):.2f} | "
            f"{middle[name] / floor:.2f} | {memory[name]:,.0f} |"
        )
    lines += [
        "",
        f"- time of `evaluate` over the bare product: {mine / floor:.2f} "
        f"({verdict(mine / floor, 1.25, most=True)})",
        f"- extra memory: {memory['mmret evaluate']:.0f} MiB "
        f"({verdict(memory['mmret evaluate'], 200, most=True)})",
        f"- time of argsort, query by query, over `evaluate`: {slowest:.1f} "
        f"({verdict(slowest, 10, most=False)})",
        f"- against a full matrix in float64: of {oracle['queries']:,} queries "
        f"{oracle['clear']:,} have no rival within 1e-6 of the right answer, and "
        f"{oracle['clear_and_equal']:,} of these have the same rank; {oracle['within']:,} lie "
        "between the ranks that the close rivals allow",
        f"- R@1: {record['r1'][0]:.1f} image→text, {record['r1'][1]:.1f} text→image",
        "",
        f"1,000 images x {EACH * 1000:,} captions, R@1 both ways:",
        "",
        "| method | s | × mmret |",
        "|---|---|---|",
        *(
            f"| {name} | {spent:.3f} | {spent / small['mmret evaluate']:.0f} |"
            for name, spent in small.items()
        ),
    ]
    if coco := record.get("coco"):
        ratio = coco["seconds"] / coco["products_seconds"]
        lines += [
            "",
            f"All of COCO's size, {coco['images']:,} images x {coco['captions']:,} captions: "
            f"{coco['seconds']:.0f} s, {ratio:.2f} times the products alone; "
            f"{coco['mebibytes']:,.0f} MiB beside the embeddings' own "
            f"{coco['embeddings_mebibytes']:,.0f}.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip-coco", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    command = "python benchmarks/evaluation.py"
    command += f" --images {args.images}" if args.images != 5000 else ""
    command += f" --rounds {args.rounds}" if args.rounds != 7 else ""
    load, data, few = os.getloadavg()[0], pool(args.images), pool(1000)
    record = {
        "command": command + (" --skip-coco" if args.skip_coco else ""),
        "machine": machine(),
        "load": load,
        "images": args.images,
        "rounds": args.rounds,
        "seconds": in_turn(NAMES, data, args.rounds),
        "memory": {name: fresh(peak_memory, name, args.images) for name in NAMES},
        "oracle": against_the_oracle(*data),
        "small": in_turn({"mmret evaluate": ours, "torchmetrics": torchmetrics_hits}, few, 3),
    }
    report, peer = evaluate(*few), torchmetrics_hits(*few)
    for mine, theirs in zip((report.i2t.recall[1], report.t2i.recall[1]), peer, strict=True):
        assert abs(mine - theirs) < 1e-3, "torchmetrics counts otherwise"
    full = evaluate(*data)
    record["r1"] = [full.i2t.recall[1], full.t2i.recall[1]]
    if not args.skip_coco:
        record["coco"] = fresh(all_of_coco, COCO)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evaluation.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "evaluation.md").write_text(text(record), encoding="utf-8")
    print(text(record))


if __name__ == "__main__":
    main()
