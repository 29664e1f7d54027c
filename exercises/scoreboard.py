"""The project's scoreboard: every team's training on the same photographs, beside a baseline.

    python exercises/scoreboard.py teams             on the validation photographs
    python exercises/scoreboard.py teams --final     on the test photographs: once, at the end

`teams` holds a folder for each team with its my_retrieval.py, in which there is

    project(image_features, text_features, owner, seed) -> (image_head, text_head)

from the album's features (1883, 1280) and (3280, 160), and owner (3280,), the photograph of each
caption, to two matrices (1280, 128) and (160, 128). It is run with three seeds in a process of its
own, which is stopped after --seconds for each. This runs the teams' code with your rights: use a
container. The figure is the mean of R@1, R@5 and R@10 in both directions; the interval (95 %,
bootstrap over the photographs) is that of the difference from the baseline on the same photographs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mmret_lib.data import load_pairs
from mmret_lib.encoders.features import keep_features
from mmret_lib.encoders.pocket import pocket_model
from mmret_lib.losses import SimCLR
from mmret_lib.metrics import evaluate
from mmret_lib.show.tables import verdict

SEEDS = (0, 1, 2)
SHAPES = [(1280, 128), (160, 128)]
Features = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def features(split: str) -> Features:
    """Features of photographs and captions, and the photograph of each caption."""
    pairs = load_pairs("album", split=split)
    kept = keep_features(pocket_model(), pairs, progress=False)
    texts = torch.as_tensor(kept.texts(slice(None))).float()
    return torch.as_tensor(kept[:]).float(), texts, torch.tensor(np.array(kept.owner))


def baseline(images: torch.Tensor, texts: torch.Tensor, owner: torch.Tensor, seed: int) -> list:
    """Lesson 00's training: two heads, SimCLR at 0.07, 60 steps of 256 photographs."""
    generator = torch.Generator().manual_seed(seed)
    count = owner.bincount()
    first, loss = count.cumsum(0) - count, SimCLR(temperature=0.07)
    heads = [torch.randn(s, generator=generator) / s[0] ** 0.5 for s in SHAPES]
    optimiser = torch.optim.Adam([head.requires_grad_() for head in heads], lr=0.003)
    for _ in range(60):
        rows = torch.randperm(len(images), generator=generator)[:256]
        captions = first[rows] + (torch.rand(256, generator=generator) * count[rows]).long()
        value = loss(images[rows] @ heads[0], texts[captions] @ heads[1])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return [head.detach() for head in heads]


RUN = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("my_retrieval", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
given = torch.load(sys.argv[2])
heads = [module.project(*(part.clone() for part in given), seed) for seed in map(int, sys.argv[4:])]
torch.save([[torch.as_tensor(head).detach() for head in two] for two in heads], sys.argv[3])
"""


def run_team(file: Path, given: Path, seconds: float) -> tuple[list, str]:
    """The heads of a team's three trainings, or none and why."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "heads.pt")
        words = [str(file), str(given), str(made), *map(str, SEEDS)]
        command = [sys.executable, "-c", RUN, *words]
        environ = os.environ | {"OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, env=environ, cwd=folder, capture_output=True, timeout=seconds * len(SEEDS)
            )
        except subprocess.TimeoutExpired:
            return [], f"not done after {seconds * len(SEEDS):g} seconds"
        if done.returncode or not made.exists():
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            return [], lines[-1] if lines else f"ended with {done.returncode}"
        heads = torch.load(made)  # tensors only: nothing of the team's is unpickled
    for two in heads:
        if [tuple(head.shape) for head in two] != SHAPES:
            return [], f"the heads' shapes are {[tuple(head.shape) for head in two]}"
        if not all(head.float().isfinite().all() for head in two):
            return [], "the heads are not finite"
    return heads, ""


def scores(heads: list, asked: Features) -> np.ndarray:
    """(N,) for each photograph the mean of the six recalls, of it and of its captions."""
    images, texts, owner = asked
    total = np.zeros(len(images))
    for image_head, text_head in heads:
        emb = (F.normalize(images @ image_head.float()), F.normalize(texts @ text_head.float()))
        report = evaluate(*emb, owner.numpy())
        for k in (1, 5, 10):
            captions = np.bincount(owner, weights=report.t2i.hits(k)) / np.bincount(owner)
            total += 100 * (report.i2t.hits(k) + captions) / 6
    return total / len(heads)


def gain(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The mean difference and half its 95 % interval, photographs drawn with replacement."""
    difference = one - other
    drawn = np.random.default_rng(0).integers(len(one), size=(4000, len(one)))
    low, high = np.quantile(difference[drawn].mean(axis=1), [0.025, 0.975])
    return float(difference.mean()), float(high - low) / 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run all teams' trainings and write a table.")
    parser.add_argument("teams", type=Path, help="a folder for each team with its my_retrieval.py")
    parser.add_argument("--final", action="store_true", help="on the test photographs, once")
    parser.add_argument("--seconds", type=float, default=60, help="that one training may take")
    asked = parser.parse_args(arguments)
    files = sorted(asked.teams.glob("*/my_retrieval.py"))
    if not files:
        print(f"no team's my_retrieval.py in {asked.teams}", file=sys.stderr)
        return 1
    train, on = features("train"), features("test" if asked.final else "val")
    base = scores([baseline(*train, seed) for seed in SEEDS], on)
    rows, failed = [(base.mean(), "baseline", "")], []
    with tempfile.TemporaryDirectory() as folder:
        torch.save(train, given := Path(folder, "train.pt"))
        for file in files:
            heads, problem = run_team(file, given, asked.seconds)
            if problem:
                failed.append(f"| {file.parent.name} | – | {problem} |")
                continue
            ours = scores(heads, on)
            mean, half = gain(ours, base)
            said = f"{mean:+.1f} ± {half:.1f}, {verdict(mean, half)}"
            rows.append((ours.mean(), file.parent.name, said))
    kind = "test" if asked.final else "validation"
    print(f"| team | mean recall, {len(base)} {kind} photographs | from the baseline |")
    print("|---|---|---|")
    for mean, name, said in sorted(rows, reverse=True):
        print(f"| {name} | {mean:.1f} | {said} |")
    for line in failed:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
