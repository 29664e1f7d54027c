"""Measure time and memory of one step of each loss, forward and backward, beside its peers.

    python benchmarks/losses.py                      B = 256, 4,096 and 32,768; 5 to 10 minutes
    python benchmarks/losses.py --sizes 256 4096     without the large one; 2 to 5 minutes

Every loss gets the same embeddings (B, 128), not yet of unit length, and returns both gradients.
The bare products are what any loss on B x B similarities needs: one for the similarities, two for
the gradients. Beyond the batch in `LIMIT` a peer's matrices fill many GiB, or it takes minutes. On
a CUDA device the same in float16 and bfloat16 as well. Run nothing else meanwhile: other programs
slow the threads down.

Needs the extra `bench`.
"""

import argparse
import gc
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses import ATLAS, BarlowTwins, MaxTriplet, SimCLR, SumTriplet
from mmret_lib.losses.atlas import FalseNegativeFilter
from mmret_lib.losses.base import similarities
from mmret_lib.losses.negatives import find_negatives

DIM = 128
LARGE = 4096  # from here on memory is measured, beyond it only two rounds and few peers
MEBI = 2**20
HERE = Path(__file__).parent
Loss = Callable[[Tensor, Tensor], Tensor]


# ---------------------------------------------------------------------------- what is compared


def products(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """Compute the three products in blocks of at most 4,096, so that any batch fits."""
    with torch.no_grad():
        image_grad, text_grad = torch.zeros_like(image_emb), torch.zeros_like(text_emb)
        for rows in range(0, len(image_emb), 4096):
            for cols in range(0, len(image_emb), 4096):
                left, right = image_emb[rows : rows + 4096], text_emb[cols : cols + 4096]
                similarity = left @ right.T
                image_grad[rows : rows + 4096].addmm_(similarity, right)
                text_grad[cols : cols + 4096].addmm_(similarity.T, left)
    return image_grad.sum()


def plain_simclr() -> Loss:
    """SimCLR on the whole matrix, as the library computes it for small batches."""
    loss = SimCLR()

    def call(a: Tensor, b: Tensor) -> Tensor:
        similarity = similarities(a, b)
        negatives = find_negatives(similarity, [])
        return loss.direction(similarity, negatives) + loss.direction(similarity.T, negatives)

    return call


def masked_simclr() -> Loss:
    """SimCLR with ids to compare: a tenth of the captions occur more than once."""
    loss = SimCLR()

    def call(a: Tensor, b: Tensor) -> Tensor:
        numbers = torch.arange(len(a), device=a.device)
        return loss(a, b, image_ids=numbers, caption_ids=numbers % (len(a) * 19 // 20))

    return call


def clip() -> Loss:
    from open_clip.loss import ClipLoss

    loss = ClipLoss()
    return lambda a, b: loss(F.normalize(a, dim=1), F.normalize(b, dim=1), logit_scale=1 / 0.07)


def siglip() -> Loss:
    """open_clip's SigLIP loss with the numbers that the library's starts with."""
    from open_clip.loss import SigLipLoss

    loss = SigLipLoss()

    def call(a: Tensor, b: Tensor) -> Tensor:
        bias = -math.log(len(a) - 1)
        images, texts = F.normalize(a, dim=1), F.normalize(b, dim=1)
        return loss(images, texts, logit_scale=10.0, logit_bias=bias)

    return call


def lightly(name: str, **settings: Any) -> Loss:
    import lightly.loss

    return getattr(lightly.loss, name)(**settings)


def metric_learning(name: str, **settings: Any) -> Loss:
    """A loss among all 2 B embeddings: also within a branch, which the library's leaves out."""
    import pytorch_metric_learning.losses

    loss = getattr(pytorch_metric_learning.losses, name)(**settings)

    def call(a: Tensor, b: Tensor) -> Tensor:
        numbers = torch.arange(len(a), device=a.device)
        return loss(torch.cat([a, b]), torch.cat([numbers, numbers]))

    return call


FLOOR = "the three bare products"
CLIP, DCL = "open_clip ClipLoss", "lightly DCLLoss"
SIGLIP = "open_clip SigLipLoss"
NTXENT, MULTI = "metric-learning NTXentLoss", "metric-learning MultiSimilarityLoss"
FILTER = "mmret FalseNegativeFilter(SimCLR)"
# The atlas by the names of its classes; the filter is wrapped around SimCLR and has no guide.
OF_ATLAS: dict[str, Callable[[], Loss]] = {
    **{
        f"mmret {kind.__name__}": kind for kind in ATLAS.values() if kind is not FalseNegativeFilter
    },
    FILTER: lambda: FalseNegativeFilter(SimCLR()),
}
MAKERS: dict[str, Callable[[], Loss]] = {
    "mmret SimCLR": SimCLR,
    "mmret SimCLR, with ids": masked_simclr,
    "mmret SimCLR, positive kept": lambda: SimCLR(positive_in_denominator=True),
    "mmret SimCLR, learnable": lambda: SimCLR(learnable=True),
    "mmret MaxTriplet": MaxTriplet,
    "mmret SumTriplet": SumTriplet,
    "mmret BarlowTwins": BarlowTwins,
    **OF_ATLAS,
    "SimCLR written out plainly": plain_simclr,
    CLIP: clip,
    SIGLIP: siglip,
    DCL: lambda: lightly("DCLLoss", temperature=0.07),
    "lightly NTXentLoss": lambda: lightly("NTXentLoss", temperature=0.07),
    "lightly BarlowTwinsLoss": lambda: lightly("BarlowTwinsLoss"),
    NTXENT: lambda: metric_learning("NTXentLoss", temperature=0.07),
    MULTI: lambda: metric_learning("MultiSimilarityLoss", alpha=2, beta=40, base=0.5),
    FLOOR: lambda: products,
}
LIMIT = {
    **dict.fromkeys(["SimCLR written out plainly", CLIP, SIGLIP, DCL, "lightly NTXentLoss"], LARGE),
    **dict.fromkeys(OF_ATLAS, LARGE),
    **dict.fromkeys(
        [f"mmret SimCLR, {form}" for form in ("with ids", "learnable", "positive kept")], LARGE
    ),
    **dict.fromkeys([NTXENT, MULTI], 256),
}


# ---------------------------------------------------------------------------- measuring


def embeddings(batch: int, device: str, dtype: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shared, image_own, text_own = torch.randn(3, batch, DIM, generator=generator)
    both = (shared + image_own, shared + text_own)
    image_emb, text_emb = (emb.to(device, getattr(torch, dtype)) for emb in both)
    return image_emb.requires_grad_(), text_emb.requires_grad_()


def step(loss: Loss, leaves: tuple[Tensor, Tensor]) -> float:
    """Time one forward and backward pass, in seconds."""
    for emb in leaves:
        emb.grad = None
    wait = torch.cuda.synchronize if leaves[0].is_cuda else (lambda: None)
    gc.collect()
    wait()
    started = time.perf_counter()
    value = loss(*leaves)
    if value.requires_grad:
        value.backward()
    wait()
    return time.perf_counter() - started


def extra_memory(name: str, batch: int, device: str, dtype: str) -> float:
    """Measure in a fresh process by how many MiB one step raises the peak memory."""
    loss = MAKERS[name]()
    step(loss, embeddings(64, device, dtype))  # what libraries allocate once is not the loss's
    leaves = embeddings(batch, device, dtype)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, leaves)
        return (torch.cuda.max_memory_allocated() - before) / MEBI
    Path("/proc/self/clear_refs").write_text("5")  # the imports have raised the peak: start anew
    before = resident("VmRSS")
    step(loss, leaves)
    return resident("VmHWM") - before


def resident(what: str) -> float:
    """MiB of memory that this process holds: now ("VmRSS"), or at its peak ("VmHWM"); Linux.

    Not getrusage's ru_maxrss, in which a process inherits the peak of the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell a process's peak memory")


def fresh(function: Callable, *args: Any) -> Any:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def compare(batch: int, rounds: int, device: str, dtype: str) -> list[dict]:
    """Measure all losses in turn; return one row per loss.

    Small batches start with a round that is not counted, in which libraries load what they need.
    """
    names = [name for name in MAKERS if batch <= LIMIT.get(name, batch)]
    losses = {name: MAKERS[name]() for name in names}
    for name in [*losses]:
        try:
            step(losses[name], embeddings(64, device, dtype))
        except RuntimeError as error:  # a peer may not know a precision
            print(f"{name} in {dtype}: {error}")
            del losses[name]
    names = [*losses]
    leaves = embeddings(batch, device, dtype)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(0 if batch <= LARGE else 1, rounds + 1):
        for name in names:
            spent = step(losses[name], leaves)
            if number > 0:
                seconds[name].append(spent)
    rows = []
    for name in names:
        memory = fresh(extra_memory, name, batch, device, dtype) if batch >= LARGE else None
        rows.append(
            {
                "loss": name,
                "batch": batch,
                "device": device,
                "dtype": dtype,
                "rounds": rounds,
                "milliseconds": round(1000 * statistics.median(seconds[name]), 2),
                "fastest": round(1000 * min(seconds[name]), 2),
                "slowest": round(1000 * max(seconds[name]), 2),
                "extra_mebibytes": None if memory is None else round(memory, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------------------- reporting


def bars(table: pd.DataFrame) -> list[str]:
    """List the figures that have a required value, with that value, as far as measured."""
    at = table.set_index(["batch", "loss"])
    time_of, memory_of = at.milliseconds.to_dict(), at.extra_mebibytes.to_dict()
    lines = []

    def line(text: str, over: float, bar: str, met: bool) -> None:
        lines.append(f"- {text}: {over:.2f} (bar: {bar}; {'met' if met else 'MISSED'})")

    if (4096, CLIP) in time_of:
        simclr = time_of[4096, "mmret SimCLR"]
        ratio = simclr / time_of[4096, CLIP]
        line("B = 4,096, time of SimCLR over ClipLoss", ratio, "at most 1", ratio <= 1)
        ratio = time_of[4096, DCL] / simclr
        line("B = 4,096, time of DCLLoss over SimCLR", ratio, "at least 6", ratio >= 6)
        ratio = time_of[4096, "mmret MaxTriplet"] / simclr
        line("B = 4,096, time of MaxTriplet over SimCLR", ratio, "at most 1.2", ratio <= 1.2)
        ratio = time_of[4096, "mmret SumTriplet"] / simclr
        lines.append(f"- B = 4,096, time of SumTriplet over SimCLR: {ratio:.2f}")
        ratio = simclr / time_of[4096, FLOOR]
        lines.append(f"- B = 4,096, time of SimCLR over the three bare products: {ratio:.2f}")
        for name in OF_ATLAS:
            ratio = time_of[4096, name] / simclr
            text = f"B = 4,096, time of {name.removeprefix('mmret ')} over SimCLR"
            line(text, ratio, "at most 2", ratio <= 2)
    if (4096, SIGLIP) in time_of:
        ratio = time_of[4096, "mmret SigLIP"] / time_of[4096, SIGLIP]
        line("B = 4,096, time of SigLIP over SigLipLoss", ratio, "at most 1", ratio <= 1)
    for name in ("mmret SimCLR", "mmret MaxTriplet", "mmret SumTriplet"):
        if (32768, name) in time_of:
            gibi = memory_of[32768, name] / 1024
            line(f"B = 32,768, extra GiB of {name}", gibi, "under 1", gibi < 1)
            if (4096, name) in time_of:
                ratio = time_of[32768, name] / 64 / time_of[4096, name]
                text = f"{name}, time per pair of pairs at B = 32,768 over that at 4,096"
                line(text, ratio, "at most 1.5", ratio <= 1.5)
    return lines


def text(record: dict) -> str:
    table = pd.DataFrame(record["table"]).astype({"extra_mebibytes": float})
    lines = [
        "# What a step of each loss costs",
        "",
        f"`{record['command']}`, on {record['machine']}.",
        f"Forward and backward of embeddings (B, {DIM}), median of the rounds, which go through "
        "all losses in turn; memory is the peak of one step in a fresh process less what it held "
        "before. ClipLoss and SigLipLoss are given rows of unit length, and what that takes "
        "counts. Load of the "
        f"machine over the minute before the run: {record['load']:.1f}, this run's own excluded.",
    ]
    for (device, dtype), part in table.groupby(["device", "dtype"], sort=False):
        for batch, rows in part.groupby("batch"):
            lines += [
                "",
                f"## B = {batch:,}, {dtype}, {device}, {rows.rounds.iloc[0]} rounds",
                "",
                "| loss | ms | fastest … slowest | × bare products | extra MiB |",
                "|---|---|---|---|---|",
            ]
            floor = rows.set_index("loss").milliseconds[FLOOR]
            for row in rows.itertuples():
                lines.append(
                    f"| {row.loss} | {row.milliseconds:,.1f} | {row.fastest:,.1f} … "
                    f"{row.slowest:,.1f} | {row.milliseconds / floor:.2f} | "
                    + (f"{row.extra_mebibytes:,.0f} |" if row.extra_mebibytes >= 0 else "– |")
                )
        if met := bars(part):
            lines += ["", f"## Against the bars, {dtype}, {device}", "", *met]
    return "\n".join(lines) + "\n\n![milliseconds and mebibytes of one step](losses.png)\n"


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw time and memory of all losses at the middle batch size, in the first precision."""
    from matplotlib.figure import Figure

    table = table[table["dtype"] == table["dtype"].iloc[0]].astype({"extra_mebibytes": float})
    batch = 4096 if 4096 in set(table.batch) else table.batch.max()
    table = table[table.batch == batch]
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    kinds = {"mmret": "#0072b2", FLOOR: "#d8dcdf"}
    colours = [kinds.get(name, kinds.get(name.split()[0], "#8a939b")) for name in table.loss]
    for axes, column, unit in zip(
        panels, ["milliseconds", "extra_mebibytes"], ["milliseconds", "extra MiB"], strict=True
    ):
        values = table[column].fillna(1).clip(lower=1)
        drawn = axes.barh(table.loss, values, color=colours)
        axes.bar_label(
            drawn, [f"{value:,.0f}".replace("nan", "–") for value in table[column]], padding=4
        )
        axes.set_xscale("log")
        axes.set_xlim(right=values.max() * 3)
        axes.set_xlabel(f"{unit} of one step, B = {batch:,} (logarithmic)")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 4096, 32768])
    parser.add_argument("--rounds", type=int, default=5, help="2 where B is above 4,096")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    from loader import machine  # the script beside this one

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = ["float32", "float16", "bfloat16"] if device == "cuda" else ["float32"]
    command = "python benchmarks/losses.py"
    if args.sizes != parser.get_default("sizes"):
        command += " --sizes " + " ".join(map(str, args.sizes))
    if args.rounds != parser.get_default("rounds"):
        command += f" --rounds {args.rounds}"
    load = os.getloadavg()[0]
    rows: list[dict] = []
    for dtype in dtypes:
        for batch in args.sizes:
            rows += compare(batch, args.rounds if batch <= LARGE else 2, device, dtype)
    if device == "cuda":
        command += f" (on {torch.cuda.get_device_name()})"
    record = {
        "command": command,
        "machine": machine(),
        "load": load,
        "dim": DIM,
        "table": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "losses.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "losses.md").write_text(text(record), encoding="utf-8")
    draw(pd.DataFrame(rows), args.out / "losses.png")
    print(text(record))


if __name__ == "__main__":
    main()
