"""Pretrain the mini backbones, which take the place of ImageNet's and BERT's weights.

The image backbone learns to name what a drawn scene shows; the text backbone is distilled from a
larger BERT that learned to fill in masked words of scene captions. Both see only scenes of a
world with another seed than the course's own. `mmret pretrain` runs this and writes what
`data/mini/` ships, with the recipe and the figures beside the weights.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import BertConfig, BertForMaskedLM, DistilBertForMaskedLM

from mmret_lib.data.augment import shift_and_flip
from mmret_lib.data.world import pictures as scene_pictures
from mmret_lib.data.world import scenes
from mmret_lib.data.world.captions import KINDS, PLACES, SIZES, Scene
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import TextEncoder

SEED = 1000  # the course's worlds count up from 0


class SceneNamer(nn.Module):
    """Predict from image features how many of each kind there are, how big, and which place."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.count = nn.Linear(features, len(KINDS) * 5)  # 0 to 4 of each kind
        self.size = nn.Linear(features, len(KINDS) * len(SIZES))
        self.place = nn.Linear(features, len(PLACES))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, features) -> logits (B, kinds, 5), (B, kinds, 3), (B, places)."""
        batch = len(features)
        return (
            self.count(features).view(batch, len(KINDS), 5),
            self.size(features).view(batch, len(KINDS), len(SIZES)),
            self.place(features),
        )


def scene_labels(drawn: list[Scene]) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (N, kinds), sizes (N, kinds) with -1 for absent kinds, places (N,); all int64."""
    kinds = {name: column for column, name in enumerate(KINDS)}
    counts = torch.zeros(len(drawn), len(KINDS), dtype=torch.int64)
    sizes = torch.full((len(drawn), len(KINDS)), -1, dtype=torch.int64)
    for row, scene in enumerate(drawn):
        for group in scene.objects:
            counts[row, kinds[group.kind]] = group.count
            sizes[row, kinds[group.kind]] = SIZES.index(group.size)
    places = list(PLACES)
    return counts, sizes, torch.tensor([places.index(scene.place) for scene in drawn])


def draw_scenes(count: int, split: str, image_size: int) -> tuple[Tensor, list[Scene]]:
    """Draw ``count`` scenes of the pretraining world: uint8 (N, 3, S, S), and what they show."""
    world = scenes.World(size=count, image_size=image_size, seed=SEED)
    drawn, keys = scenes.make_scenes(world, split)
    pictures = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    for index in tqdm(range(count), f"drawing {split}", unit="scene", leave=False):
        pictures[index] = np.asarray(scene_pictures.draw(drawn[index], keys[index], image_size))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), drawn


def pretrain_image(
    out: Path,
    *,
    scenes_drawn: int = 40_000,
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 3e-3,
    device: str = "cpu",
) -> dict[str, float]:
    """Teach the mini ResNet to name what a scene shows, and save its backbone in ``out``.

    The loss adds three cross-entropies: how many of each of the kinds (0 to 4), how big each one
    present is, and the place.

    Returns:
        Figures on 2,000 held-out scenes, in percent: ``kinds`` (scenes whose set of kinds is
        named without a fault), ``counts`` (and every count right), ``sizes`` (of the kinds
        present), ``places``; ``seconds`` of training.
    """
    torch.manual_seed(SEED)
    encoder = ImageEncoder("mini", weights=None).to(device)
    namer = SceneNamer(encoder.features).to(device)
    images, drawn = draw_scenes(scenes_drawn, "pretrain", encoder.image_size)
    labels = scene_labels(drawn)
    steps = epochs * (scenes_drawn // batch_size)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(SEED)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < batch_size:
                order = torch.randperm(scenes_drawn, generator=generator)
            rows, order = order[:batch_size], order[batch_size:]
            batch = shift_and_flip(images[rows].to(device), generator)
            yield batch, *(label[rows].to(device) for label in labels)

    def loss_of(batch: Tensor, counts: Tensor, sizes: Tensor, places: Tensor) -> Tensor:
        count_logits, size_logits, place_logits = namer(encoder.extract_features(batch))
        present = sizes >= 0
        count_loss = F.cross_entropy(count_logits.flatten(0, 1), counts.flatten(), reduction="sum")
        return (
            count_loss / len(batch)
            + F.cross_entropy(size_logits[present], sizes[present])
            + F.cross_entropy(place_logits, places)
        )

    started = time.perf_counter()
    parameters = [*encoder.backbone.parameters(), *namer.parameters()]
    train_steps(parameters, batches(), loss_of, steps, lr, "naming sprites")
    seconds = round(time.perf_counter() - started)
    encoder.save_backbone(out)
    return {**_naming_figures(encoder, namer, device), "seconds": seconds}


@torch.no_grad()
def _naming_figures(encoder: ImageEncoder, namer: SceneNamer, device: str) -> dict[str, float]:
    encoder.eval()
    images, drawn = draw_scenes(2000, "heldout", encoder.image_size)
    counts, sizes, places = scene_labels(drawn)
    parts = torch.split(images, 250)
    outputs = [namer(encoder.extract_features(part.to(device))) for part in parts]
    count_logits, size_logits, place_logits = (
        torch.cat(part).cpu() for part in zip(*outputs, strict=True)
    )
    named, present = count_logits.argmax(2), sizes >= 0

    def percent(right: Tensor) -> float:
        return round(100 * right.float().mean().item(), 2)

    return {
        "kinds": percent(((named > 0) == (counts > 0)).all(1)),
        "counts": percent((named == counts).all(1)),
        "sizes": percent(size_logits[present].argmax(1) == sizes[present]),
        "places": percent(place_logits.argmax(1) == places),
    }


def scene_texts(count: int, split: str) -> list[str]:
    """Make at least ``count`` captions of the pretraining world, five a scene."""
    world = scenes.World(size=math.ceil(count / scenes.CAPTIONS_PER_SCENE), seed=SEED)
    made, _ = scenes.make_scenes(world, split)
    return [caption for caption, _, _ in scenes.make_captions(world, split, made)]


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(p || q) = sum p log p - sum p log q, mean over tokens, times temperature squared.

    p and q are the teacher's and the student's softmax at ``temperature``; (tokens, words) logits
    each. The factor keeps the gradient's size when the temperature changes (Hinton, Vinyals and
    Dean 2015, arXiv 1503.02531, section 2.1).
    """
    log_p = F.log_softmax(teacher / temperature, dim=-1)
    log_q = F.log_softmax(student / temperature, dim=-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)  # (tokens,)
    return divergence.mean() * temperature**2


def distil_text(
    out: Path,
    *,
    captions: int = 40_000,
    teacher_epochs: int = 2,
    student_epochs: int = 2,
    batch_size: int = 128,
    lr: float = 1e-3,
    temperature: float = 2.0,
    device: str = "cpu",
) -> dict[str, float]:
    """Train a BERT on masked scene captions, distil it into the mini DistilBERT, save the student.

    The student's loss adds KL(teacher || student) at ``temperature`` and the masked-word
    cross-entropy, as DistilBERT's does (Sanh et al. 2019, arXiv 1910.01108).

    Returns:
        Figures on 2,000 held-out captions: share of masked words filled in rightly by the
        ``teacher`` and by the ``student`` (percent), ``seconds`` in all.
    """
    torch.manual_seed(SEED)
    started = time.perf_counter()
    texts, heldout = scene_texts(captions, "pretrain"), scene_texts(2000, "heldout")
    encoder = TextEncoder("mini", weights=None, captions=[*texts, *scenes.SLIDE_QUERIES])
    teacher = BertForMaskedLM(
        BertConfig(
            vocab_size=encoder.backbone.config.vocab_size,
            hidden_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=768,
            max_position_embeddings=128,
        )
    ).to(device)
    student = DistilBertForMaskedLM(encoder.backbone.config).to(device)

    def masked_word_loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)

    def teacher_loss(inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return masked_word_loss(teacher(**inputs).logits, targets)

    def student_loss(inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        logits = student(**inputs).logits
        with torch.no_grad():
            teacher_logits = teacher(**inputs).logits
        masked = targets != -100
        return masked_word_loss(logits, targets) + distillation_loss(
            logits[masked], teacher_logits[masked], temperature
        )

    for model, loss_of, epochs, name in (
        (teacher, teacher_loss, teacher_epochs, "teacher"),
        (student, student_loss, student_epochs, "student"),
    ):
        batches = _masked_batches(encoder, texts, batch_size, epochs, device)
        steps = epochs * (len(texts) // batch_size)
        model.train()
        train_steps(list(model.parameters()), batches, loss_of, steps, lr, name)
        model.eval()
    encoder.backbone.load_state_dict(student.distilbert.state_dict())
    # Shipped without dropout: the course's short runs do not overfit, and on a CPU drawing the
    # dropout masks takes longer than applying them.
    encoder.backbone.config.dropout = encoder.backbone.config.attention_dropout = 0.0
    encoder.save_backbone(out)
    return {
        "teacher": _filled_in(teacher, encoder, heldout, device),
        "student": _filled_in(student, encoder, heldout, device),
        "seconds": round(time.perf_counter() - started),
    }


def _masked_batches(
    encoder: TextEncoder, texts: list[str], batch_size: int, epochs: int, device: str
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Hide 15 % of the word pieces, as BERT does: 80 % masked, 10 % random, 10 % kept.

    Yields:
        The model's inputs, and the targets (B, L): -100 wherever nothing was hidden.
    """
    rng = random.Random(SEED)
    generator = torch.Generator().manual_seed(SEED)
    vocabulary_size = encoder.backbone.config.vocab_size
    special = torch.tensor(encoder.tokenizer.all_special_ids)
    order = list(range(len(texts)))
    for _ in range(epochs):
        rng.shuffle(order)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            tokens = encoder.tokenize([texts[i] for i in order[start : start + batch_size]])
            token_ids = tokens["input_ids"].clone()
            hide = torch.rand(token_ids.shape, generator=generator) < 0.15
            hide &= ~torch.isin(token_ids, special)
            targets = torch.where(hide, token_ids, -100)
            how = torch.rand(token_ids.shape, generator=generator)
            token_ids[hide & (how < 0.8)] = encoder.tokenizer.mask_token_id
            swap = hide & (how >= 0.9)
            token_ids[swap] = torch.randint(
                vocabulary_size, (int(swap.sum()),), generator=generator
            )
            inputs = {"input_ids": token_ids, "attention_mask": tokens["attention_mask"]}
            yield {name: part.to(device) for name, part in inputs.items()}, targets.to(device)


@torch.no_grad()
def _filled_in(model: nn.Module, encoder: TextEncoder, texts: list[str], device: str) -> float:
    """Percent of the hidden word pieces that the model fills in rightly."""
    right = hidden = 0
    for inputs, targets in _masked_batches(encoder, texts, 100, 1, device):
        masked = targets != -100
        right += int((model(**inputs).logits.argmax(-1)[masked] == targets[masked]).sum())
        hidden += int(masked.sum())
    return round(100 * right / hidden, 2)


def train_steps(
    parameters: list[nn.Parameter],
    batches: Iterable[tuple[Any, ...]],
    loss_of: Callable[..., Tensor],
    steps: int,
    lr: float,
    name: str,
) -> None:
    """Take one step of AdamW for each batch, under a one-cycle schedule."""
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    bar = tqdm(batches, name, steps, unit="step")
    for batch in bar:
        loss = loss_of(*batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
