"""Measure the full-size model on a GPU: ResNet-34 at 224 pixels + DistilBERT, 16 bits, B = 256.

    python benchmarks/gpu.py                 on a CUDA device; 5 minutes
    python benchmarks/gpu.py --miniature     on any machine: B = 8, to see that the script runs

Images per second of the trainer's own loop, the share of it that waits for data, open_clip's rate
with the same towers on the same batch, and which share of the card's measured rate of products the
step reaches. Without a GPU only the miniature runs, and its page says what is not measured.

Needs the extra `bench`.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from loader import machine  # the scripts beside this one
from step import in_turn, ours, peer, trainer
from torch.utils.flop_counter import FlopCounterMode

from mmret_lib.training import TrainConfig, Trainer

HERE = Path(__file__).parent
NOT_MEASURED = """
**Not measured**, because this machine has no CUDA device: images per second, waiting for data and
share of the card's rate at B = 256 in mixed precision; open_clip's rate beside ours on a GPU;
`torch.compile`; float16 with a gradient scaler; the memory of a T4. The figures above are of a CPU
and of batches too small to say anything about a GPU. `python benchmarks/gpu.py` on a machine with a
card overwrites this page.
"""


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the operations per second of a large matrix product: the best of five."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    seconds = min(
        statistics.median(times)
        for times in in_turn({"product": lambda: left @ right}, 5, device).values()
    )
    return 2 * side**3 / seconds


def fitted(loop: Trainer) -> dict[str, float]:
    """Measure the rate of `fit` in its last epoch; in the first, libraries choose their kernels."""
    history = loop.fit()
    images = len(loop.loader) * loop.config.batch_size
    return {
        "images_per_second": images / history.rows[-1]["seconds"],
        "waiting": history.waiting_seconds / history.training_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miniature", action="store_true")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    cuda = torch.cuda.is_available() and not args.miniature
    if not cuda and not args.miniature:
        sys.exit("no CUDA device here: --miniature tries the script on the CPU")
    batch_size, images, rounds = (256, 16 * 256, 20) if cuda else (8, 32, 5)
    device = torch.device("cuda" if cuda else "cpu")
    config = TrainConfig(batch_size=batch_size, epochs=2, device=device.type, validate=False)
    loop = trainer("resnet34", images, config)
    batch = next(loop.loader.epoch(0))
    rate = product_rate(device, loop.dtype)
    counter = FlopCounterMode(display=False)
    with counter:
        ours(loop)()
    operations = counter.get_total_flops()
    fits = {"mmret": fitted(loop)}
    if args.compile:
        compiled = TrainConfig(
            batch_size=batch_size, epochs=2, device=device.type, validate=False, compile=True
        )
        fits["mmret, compiled"] = fitted(trainer("resnet34", images, compiled))
    steps = {
        "mmret": ours(loop),
        "torchvision + transformers": peer("plain", batch, device, loop.autocast),
        "open_clip": peer("open_clip", batch, device, loop.autocast),
        "open_clip, padded to 77": peer("open_clip", batch, device, loop.autocast, length=77),
    }
    seconds = in_turn(steps, rounds, device)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = middle["open_clip"] / middle["mmret"]
    name = torch.cuda.get_device_name() if cuda else "a CPU"
    command = f"python benchmarks/gpu.py{'' if cuda else ' --miniature'}"
    lines = [
        "# The real configuration on a GPU" + ("" if cuda else ": a miniature on a CPU"),
        "",
        f"`{command}`, on {name}; {machine()}; {time.strftime('%Y-%m-%d')}.",
        "",
        f"ResNet-34 at 224 pixels + DistilBERT, B = {batch_size}, {loop.dtype}; median of {rounds} "
        "steps.",
        "",
        "| step | ms | images/s | share of the measured rate of products |",
        "|---|---|---|---|",
        *(
            f"| {step} | {1000 * spent:,.0f} | {batch_size / spent:,.0f} | "
            + (f"{operations / spent / rate:.0%} |" if step == "mmret" else "– |")
            for step, spent in middle.items()
        ),
        "",
        f"- measured rate of products: {rate / 1e12:.2f} · 10^12 operations per second",
        f"- open_clip's time over ours: {ratio:.2f}" + (" (bar: at least 1.0)" if cuda else ""),
        *(
            f"- `fit`, {kind}: {figures['images_per_second']:,.0f} images/s, waiting for data "
            f"{figures['waiting']:.1%}" + (" (bar: under 3 %)" if cuda else "")
            for kind, figures in fits.items()
        ),
        "" if cuda else NOT_MEASURED,
    ]
    record = {
        "command": command,
        "machine": machine(),
        "device": name,
        "seconds": seconds,
        "products": rate,
        "operations": operations,
        "fits": fits,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "gpu.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
