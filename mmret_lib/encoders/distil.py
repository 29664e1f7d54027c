"""Distil a published sentence encoder into the pocket text backbone, small enough to be shipped.

The teacher (all-MiniLM-L6-v2: 6 layers, 384 numbers, 90 MB) embeds captions and some other short
texts once. The student, a DistilBERT of 3 layers and 160 numbers with 8,192 of the teacher's word
pieces, learns from these embeddings, in one of two forms:

* "cosine" matches each text's embedding: 1 - cosine, no temperature. The 160 numbers are compared
  with the teacher's 384 along their first 160 principal axes.
* "kl" matches how similar the texts of a batch are to each other: each row of the teacher's
  similarity matrix and of the student's becomes a softmax, compared by `distillation_loss`.

`mmret pretrain pocket-text` trains both with the same budget and keeps the one that agrees better
with the teacher on captions that neither has seen.
"""

import copy
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    AutoModel,
    DistilBertConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mmret_lib.encoders.distil_texts import (
    HELD_OUT,
    MAX_LENGTH,
    SEED,
    further_texts,
    read_captions,
    small_vocabulary,
)
from mmret_lib.encoders.pooling import write_pooling
from mmret_lib.encoders.pretrain import distillation_loss, train_steps
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.weights import write_tensors
from mmret_lib.files.errors import DataError
from mmret_lib.files.whole import whole_folder

FORMS = ("cosine", "kl")
FEATURES = 160
NEIGHBOURS = 10


@torch.inference_mode()
def embed_texts(encoder: TextEncoder, texts: Sequence[str], name: str) -> Tensor:
    """Embed texts by the backbone alone: (N, features), float32 on the CPU, of unit length."""
    device = encoder.projection.weight.device
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    features = torch.empty(len(texts), encoder.features)
    encoder.eval()
    for start in tqdm(range(0, len(order), 256), name, unit="batch", leave=False):
        rows = order[start : start + 256]
        tokens = encoder.tokenize([texts[row] for row in rows])
        # Half the time of float32; the embeddings differ by a cosine of less than 0.0001.
        with torch.autocast(device.type, dtype=torch.bfloat16):
            part = encoder.extract_features(**{k: v.to(device) for k, v in tokens.items()})
        features[rows] = F.normalize(part.float(), dim=1).cpu()
    return features


def principal_axes(vectors: Tensor, count: int) -> Tensor:
    """Directions that keep most of the vectors' length: (N, D) -> (D, count), orthonormal."""
    axes: Tensor = torch.linalg.eigh(vectors.T @ vectors).eigenvectors  # by rising length
    return axes.flip(1)[:, :count].contiguous()


def new_student(
    teacher: TextEncoder, captions: Sequence[str], features: int = FEATURES
) -> TextEncoder:
    """Build the student: its word vectors are the teacher's, shortened; its layers are random."""
    torch.manual_seed(SEED)
    tokenizer = small_vocabulary(teacher.tokenizer.backend_tokenizer, captions)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        dim=features,
        n_layers=3,
        n_heads=4,
        hidden_dim=4 * features,
        max_position_embeddings=MAX_LENGTH,
        dropout=0.0,  # it learns from more texts than it can learn by heart
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    backbone = AutoModel.from_config(config)
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    rows = teacher.tokenizer.convert_tokens_to_ids(pieces)
    vectors = teacher.backbone.get_input_embeddings().weight.detach()[rows].cpu()
    vectors = vectors - vectors.mean(0)
    vectors = vectors @ principal_axes(vectors, features)
    table = backbone.get_input_embeddings().weight
    with torch.no_grad():
        table.copy_(vectors * (0.05 / vectors.square().mean().sqrt()))
        table[tokenizer.pad_token_id] = 0
    with tempfile.TemporaryDirectory() as folder:
        write_backbone(Path(folder), backbone, tokenizer)
        return open_backbone(Path(folder))


def write_backbone(
    folder: Path, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write a folder that transformers and sentence-transformers read, weights in float16."""
    state = {name: value.half() for name, value in backbone.state_dict().items()}
    write_tensors(folder / "model.safetensors", state)
    backbone.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_pooling(folder, "mean", backbone.config.dim)


def open_backbone(folder: Path) -> TextEncoder:
    """Open what `write_backbone` wrote; the weights become float32."""
    return TextEncoder(folder, "pretrained", max_length=MAX_LENGTH)


def cosine_loss(student: Tensor, target: Tensor) -> Tensor:
    """1 - cosine between embeddings, both (B, D); the targets' lengths are kept as they are."""
    return 1 - (F.normalize(student, dim=1) * target).sum(1).mean()


def similarity_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL between rows of two similarity matrices, of embeddings (B, D) and (B, E) of B texts.

    A text's similarity with itself is 1 in both and left out: it would take nearly all the weight
    of each softmax.
    """
    others = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    rows = []
    for embeddings in (student, teacher):
        unit = F.normalize(embeddings, dim=1)
        rows.append((unit @ unit.T)[others].view(len(unit), -1))  # (B, B - 1)
    return distillation_loss(rows[0], rows[1], temperature)


def train_student(
    student: TextEncoder,
    texts: Sequence[str],
    targets: Tensor,
    axes: Tensor,
    form: str,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 2e-3,
    temperature: float = 0.05,
) -> None:
    """Train a student on the teacher's embeddings of N texts.

    Args:
        student: on the device to train on.
        texts: what to embed.
        targets: (N, D), the teacher's embeddings.
        axes: (D, features), their first principal axes.
        form: "cosine" or "kl".
        epochs: passes over the texts.
        batch_size: texts a step; for "kl" each is compared with all others of its batch.
        lr: highest rate of the one-cycle schedule.
        temperature: of the softmax of "kl".
    """
    device = student.projection.weight.device
    axes = axes.to(device)
    lengths = torch.tensor([len(text) for text in texts])

    def batches() -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        generator = torch.Generator().manual_seed(SEED)
        for _ in range(epochs):
            # Texts of like length share a batch, or more than half of it would be padding.
            order = torch.randperm(len(texts), generator=generator)
            order = torch.cat([part[lengths[part].argsort()] for part in order.split(8192)])
            for batch in torch.randperm(len(texts) // batch_size, generator=generator).tolist():
                rows = order[batch * batch_size : (batch + 1) * batch_size]
                tokens = student.tokenize([texts[row] for row in rows.tolist()])
                yield {k: v.to(device) for k, v in tokens.items()}, targets[rows].to(device)

    def loss_of(tokens: dict[str, Tensor], target: Tensor) -> Tensor:
        features = student.extract_features(**tokens)
        if form == "cosine":
            return cosine_loss(features, target @ axes)
        return similarity_kl(features, target, temperature)

    student.train()
    steps = epochs * (len(texts) // batch_size)
    train_steps(list(student.backbone.parameters()), batches(), loss_of, steps, lr, form)
    student.eval()


def agreement(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """Measure how alike two encoders find N texts, from embeddings (N, D) and (N, E).

    Returns:
        ``neighbours``: percent of each text's 10 most similar other texts that are the same for
        both; ``spearman``: rank correlation of all similarities of two different texts.
    """
    near, similarities = [], []
    above = torch.ones(len(student), len(student), dtype=torch.bool).triu(1)
    for embeddings in (student, teacher):
        unit = F.normalize(embeddings.float(), dim=1)
        matrix = unit @ unit.T  # (N, N)
        similarities.append(matrix[above])
        near.append(matrix.fill_diagonal_(-2).topk(NEIGHBOURS).indices)
    shared = (near[0].unsqueeze(2) == near[1].unsqueeze(1)).any(2).float().mean()
    ranks = torch.stack([values.argsort().argsort().double() for values in similarities])
    return {
        "neighbours": round(100 * shared.item(), 2),
        "spearman": round(torch.corrcoef(ranks)[0, 1].item(), 4),
    }


def distil_sentences(
    out: Path,
    texts: Path,
    teacher: Path,
    *,
    forms: Sequence[str] = FORMS,
    epochs: int = 2,
    batch_size: int = 128,
    lr: float = 2e-3,
    temperature: float = 0.05,
    features: int = FEATURES,
    device: str = "cpu",
) -> dict[str, Any]:
    """Distil `teacher` in each form, and save in `out` the student that agrees best with it.

    Args:
        out: folder to write.
        texts: file of captions, one a line.
        teacher: folder of a sentence encoder of the BERT family with word pieces.
        forms: "cosine", "kl" or both; the budget is for each.
        epochs: passes over the texts.
        batch_size: texts a step.
        lr: highest rate.
        temperature: of "kl".
        features: length of the student's token vectors.
        device: where to train.

    Returns:
        Figures of each form on 2,000 held-out captions, measured after rounding to float16:
        ``neighbours`` and ``spearman`` as `agreement` defines them, for "cosine" also ``cosine``,
        the mean cosine to the teacher's embedding, and ``seconds`` of training. Beside them
        ``kept``, the form that was saved, and ``ceiling``: the agreement of the teacher's own
        embeddings along their first 160 axes, which is what "cosine" can reach.

    Raises:
        DataError: too few captions, an unknown form, or a teacher of another kind.
    """
    if unknown := set(forms) - set(FORMS):
        raise DataError(f"No form {', '.join(unknown)}: choose {' or '.join(FORMS)}.")
    captions = read_captions(texts)
    random.Random(SEED).shuffle(captions)
    heldout, captions = captions[:HELD_OUT], captions[HELD_OUT:]
    large = TextEncoder(teacher, "pretrained", max_length=MAX_LENGTH).to(device)
    if large.features < features:
        raise DataError(f"{teacher} has {large.features} numbers a text, fewer than {features}.")
    student = new_student(large, captions, features)
    words = [w for w in large.tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2]
    lessons = [*captions, *further_texts(captions, sorted(words), count=len(captions) // 3)]
    targets = embed_texts(large, lessons, "teacher")
    wanted = embed_texts(large, heldout, "teacher, held out")
    del large
    axes = principal_axes(targets, features)
    figures: dict[str, Any] = {"ceiling": agreement(wanted @ axes, wanted)}
    best = -1.0
    with whole_folder(out) as draft:
        for form in forms:
            started = time.perf_counter()
            trained = copy.deepcopy(student).to(device)
            train_student(
                trained,
                lessons,
                targets,
                axes,
                form,
                epochs=epochs,
                batch_size=batch_size,
                lr=lr,
                temperature=temperature,
            )
            seconds = round(time.perf_counter() - started)
            trained.backbone.half().float()  # as it is stored
            found = embed_texts(trained, heldout, "student, held out")
            figures[form] = {**agreement(found, wanted), "seconds": seconds}
            if form == "cosine":
                figures[form]["cosine"] = round((found * (wanted @ axes)).sum(1).mean().item(), 4)
            if figures[form]["neighbours"] > best:
                best, figures["kept"] = figures[form]["neighbours"], form
                write_backbone(draft, trained.backbone, trained.tokenizer)
    return figures
