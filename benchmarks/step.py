"""Measure a training step of ResNet-34 at 224 pixels + DistilBERT, its peers, gradient caching.

    python benchmarks/step.py                the steps (B = 32), then gradient caching; 15 minutes
    python benchmarks/step.py --rounds 3     fewer rounds

All from random weights, on the same images and, where not said otherwise, the same word pieces. A
step is: embed both branches, loss, gradients, AdamW; ours also gathers, shifts and mirrors the
images and clips the gradient. open_clip's towers are timm's ResNet-34 and, since with transformers
5 it cannot build DistilBERT, its equal, a BERT of six layers.

Needs the extra `bench`.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from loader import machine  # the scripts beside this one
from losses import fresh, resident
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, DistilBertConfig

from mmret_lib.data import load_pairs
from mmret_lib.data.loader import Batch
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder, train_wordpiece
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model

HERE = Path(__file__).parent
WORDS = 30522  # rows of BERT's table of word pieces
Step = Callable[[], object]


def distilbert(folder: Path, captions: list[str]) -> Path:
    """Write a folder with DistilBERT's sizes and a vocabulary of the captions."""
    train_wordpiece(captions).save_pretrained(folder)
    DistilBertConfig(vocab_size=WORDS).save_pretrained(folder)
    return folder


def trainer(backbone: str, images: int, config: TrainConfig) -> Trainer:
    """Make a trainer with the towers "resnet34" (and DistilBERT) or "mini"."""
    size = 224 if backbone == "resnet34" else 64
    pairs = load_pairs("scenes", split="train", size=images, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        text = distilbert(Path(folder), pairs.captions) if size == 224 else "mini"
        model = build_model(
            "simclr",
            pairs,
            image_backbone=backbone,
            image_weights=None,
            text_backbone=str(text),
            text_weights=None,
        )
    return Trainer(
        model, build_loss("simclr"), pack(pairs, size, progress=False), config, progress=False
    )


def ours(loop: Trainer) -> Step:
    """Return the trainer's own step, which includes the work of its loader."""
    loop.model.train()

    def batches():
        for epoch in itertools.count():
            yield from loop.loader.epoch(epoch)

    waiting = batches()
    return lambda: loop.train_step(next(waiting).to(loop.device))


class Plain(nn.Module):
    """torchvision's ResNet-34 and transformers' DistilBERT in a plain module."""

    def __init__(self) -> None:
        super().__init__()
        self.image = torchvision.models.resnet34(weights=None)
        self.image.fc = nn.Linear(512, 128)
        self.text = AutoModel.from_config(DistilBertConfig(vocab_size=WORDS))
        self.projection = nn.Linear(768, 128)

    def forward(self, images: Tensor, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.text(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return self.image(images), self.projection(states[:, 0])


def open_clip_model() -> nn.Module:
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

    with tempfile.TemporaryDirectory() as folder:
        BertConfig(num_hidden_layers=6, vocab_size=WORDS).save_pretrained(folder)
        return CustomTextCLIP(
            128,
            CLIPVisionCfg(timm_model_name="resnet34", timm_pool="", timm_proj="linear"),
            CLIPTextCfg(
                hf_model_name=folder,
                hf_tokenizer_name=folder,
                hf_model_pretrained=False,
                hf_pooler_type="cls_last_hidden_state_pooler",
                hf_proj_type="linear",
            ),
        )


def peer(
    name: str,
    batch: Batch,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    length: int | None = None,
) -> Step:
    """Return a peer's step; `length` pads the captions to that many word pieces, as CLIP does."""
    model = (open_clip_model() if name == "open_clip" else Plain()).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    batch = batch.to(device)
    ids, mask = batch.tokens["input_ids"], batch.tokens["attention_mask"]
    if length:
        ids, mask = (F.pad(part, (0, length - part.shape[1])) for part in (ids, mask))

    def step() -> float:
        images = (batch.images / 255 - mean) / 0.225
        optimizer.zero_grad()
        with autocast():
            if name == "open_clip":
                image_emb, text_emb, _ = model(images, ids)
            else:
                image_emb, text_emb = model(images, ids, mask)
        image_emb, text_emb = (F.normalize(emb.float(), dim=1) for emb in (image_emb, text_emb))
        logits = image_emb @ text_emb.T / 0.07
        labels = torch.arange(len(logits), device=device)
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def in_turn(steps: dict[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Time the steps in turn, in seconds, after a round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_rows(seconds: dict[str, list[float]], over: str) -> list[str]:
    lines = [f"| step | s | fastest … slowest | × {over} |", "|---|---|---|---|"]
    base = statistics.median(seconds[over])
    for name, times in seconds.items():
        middle = statistics.median(times)
        lines.append(
            f"| {name} | {middle:.2f} | {min(times):.2f} … {max(times):.2f} | {middle / base:.2f} |"
        )
    return lines


def shared_work(step: Step) -> float:
    """Measure the share of a step in convolutions and matrix products, equal for equal towers."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        step()
    rows = seen.key_averages()
    products = ("convolution", "mm", "addmm", "bmm", "convolution_backward", "mkldnn_convolution")
    spent = sum(r.self_cpu_time_total for r in rows if r.key.removeprefix("aten::") in products)
    return spent / sum(r.self_cpu_time_total for r in rows)


def peak_memory(batch_size: int, chunk_size: int) -> float:
    """Measure in a fresh process by how many MiB two steps of the mini towers raise the peak."""
    config = TrainConfig(batch_size=batch_size, chunk_size=chunk_size, device="cpu", epochs=1)
    loop = trainer("mini", 4096, config)
    loop.model.train()
    batch = next(loop.loader.epoch(0))
    loop.train_step(
        Batch(
            batch.images[:2],
            {k: v[:2] for k, v in batch.tokens.items()},
            batch.image_ids[:2],
            batch.caption_ids[:2],
        )
    )
    Path("/proc/self/clear_refs").write_text("5")  # the imports have raised the peak: start anew
    before = resident("VmRSS")
    for _ in range(2):
        loop.train_step(batch)
    return resident("VmHWM") - before


def train_mode_difference() -> dict[str, float]:
    """Measure the relative error of the cached gradient where BatchNorm is in train mode.

    Mini towers with the shipped weights, B = 128.
    """
    pairs = load_pairs("scenes", split="train", size=512, progress=False)
    store = pack(pairs, 64, progress=False)
    gradients = {}
    for chunk_size in (0, 64, 32, 16):
        model: DualEncoder = build_model("simclr", pairs)
        config = TrainConfig(
            batch_size=128, chunk_size=chunk_size, augment="none", clip=0, device="cpu"
        )
        loop = Trainer(model, build_loss("simclr"), store, config, progress=False)
        loop.model.train()
        loop.train_step(next(loop.loader.epoch(0)))
        gradients[chunk_size] = torch.cat([p.grad.flatten() for p in loop.parameters])
    whole = gradients.pop(0)
    return {str(size): ((g - whole).norm() / whole.norm()).item() for size, g in gradients.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", type=int, nargs="*", default=[256, 1024, 4096])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    load, cpu = os.getloadavg()[0], torch.device("cpu")
    # For the fresh processes: what is freed goes back at once, so that a peak is of what is held,
    # and repeats to the MiB (glibc).
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    config = TrainConfig(batch_size=args.batch, device="cpu", epochs=1)
    loop = trainer("resnet34", 4 * args.batch, config)
    batch = next(loop.loader.epoch(0))
    pieces = batch.tokens["input_ids"].shape[1]
    seconds = in_turn(
        {
            "mmret": ours(loop),
            "torchvision + transformers": peer("plain", batch, cpu),
            "open_clip": peer("open_clip", batch, cpu),
            "open_clip, padded to 77 as its tokenizer does": peer(
                "open_clip", batch, cpu, length=77
            ),
        },
        args.rounds,
        cpu,
    )
    share = shared_work(ours(loop))
    del loop
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = middle["open_clip"] / middle["mmret"]
    twice = TrainConfig(batch_size=2 * args.batch, device="cpu", epochs=1)
    cached = TrainConfig(batch_size=2 * args.batch, chunk_size=args.batch, device="cpu", epochs=1)
    caching = in_turn(
        {
            "whole": ours(trainer("resnet34", 4 * args.batch, twice)),
            "in two pieces": ours(trainer("resnet34", 4 * args.batch, cached)),
        },
        args.rounds,
        cpu,
    )
    cost = statistics.median(caching["in two pieces"]) / statistics.median(caching["whole"]) - 1
    memory = [
        {"batch": size, "chunk_size": chunk, "mebibytes": round(fresh(peak_memory, size, chunk))}
        for size in args.memory
        for chunk in (128, 0)
        if chunk or size <= 1024
    ]
    cached_memory = [row["mebibytes"] for row in memory if row["chunk_size"]]
    difference = train_mode_difference()
    command = f"python benchmarks/step.py --batch {args.batch} --rounds {args.rounds}"
    lines = [
        "# A whole training step",
        "",
        f"`{command}`, on {machine()}. Load of the machine over the minute before: {load:.1f}.",
        "",
        f"ResNet-34 at 224 pixels and DistilBERT (open_clip: a BERT of six layers), B = "
        f"{args.batch}, {pieces} word pieces, float32; median of {args.rounds} rounds, which go "
        "through all in turn.",
        "",
        *median_rows(seconds, "mmret"),
        "",
        f"- open_clip's time over ours: {ratio:.2f} (bar: at least 1.2; "
        f"{'met' if ratio >= 1.2 else 'MISSED'})",
        f"- {share:.0%} of our step are convolutions and matrix products, which equal towers share",
        "",
        "## Gradient caching",
        "",
        f"The same towers, B = {2 * args.batch}, whole or in two pieces:",
        "",
        *median_rows(caching, "whole"),
        "",
        f"- it costs {cost:.0%} more time (bar: at most 35 %; "
        f"{'met' if cost <= 0.35 else 'MISSED'})",
        "",
        "Peak memory of a step beyond what the process held before, mini towers at 64 pixels:",
        "",
        "| B | in pieces of | MiB |",
        "|---|---|---|",
        *(
            f"| {r['batch']:,} | {r['chunk_size'] or 'the whole'} | {r['mebibytes']:,} |"
            for r in memory
        ),
        "",
        f"- in pieces, the largest batch's over the smallest's (bar: flat): "
        f"{cached_memory[-1] / max(1, cached_memory[0]):.2f}"
        if cached_memory
        else "",
        "",
        "In eval mode the gradient is the whole batch's (to 1e-7 in float64; tests/"
        "test_grad_cache.py). In train mode each piece has BatchNorm statistics of its own. "
        "Relative length of the difference between the two gradients, mini towers with the "
        "shipped weights, B = 128:",
        "",
        "| in pieces of | difference |",
        "|---|---|",
        *(f"| {size} | {value:.1%} |" for size, value in difference.items()),
        "",
    ]
    record = {
        "command": command,
        "machine": machine(),
        "load": load,
        "seconds": seconds,
        "share_of_products": share,
        "caching": caching,
        "memory": memory,
        "train_mode_difference": difference,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "step.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "step.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
