"""How well the two branches find each other: exact ranks, and recall@K, mean and median rank.

For every image all captions are ranked by cosine similarity, and for every caption all images.
A rank is how many wrong answers score above the right one, so counting does and nothing is
sorted. Four things go wrong in the plain ten-line version, and each shapes this file:

- **A positive compared with itself.** Its score computed row by row differs in the last bit from
  the same score inside a matrix product, whose own bits change with the product's shape; then
  `score > positive` counts positives against themselves and R@1 falls by a third. Here own
  entries are left out by index: they are NaN before the comparison, and NaN compares false.
- **Ties.** Counting only what scores strictly higher gives a model that answers the same to
  everything R@1 = 100 %. Tied others count one half each: the rank expected of a coin toss.
- **NaN.** No comparison with NaN is true, so an all-NaN model is perfect, too. Refused by row.
- **Rounding.** Float32 products err by up to D / 2^25, enough to break the ties of a constant
  model. Float32 therefore decides only what is clear of that bound (nearly everything); the
  close calls are scored again in float64. The ranks do not depend on the tile.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Cosines closer than this are a tie: what float32 embeddings themselves carry in rounding.
TIE_TOLERANCE = 5e-7
FOLDS, FOLD_IMAGES = 5, 1000  # the COCO "1K" protocol

Array = Tensor | np.ndarray


@dataclass(frozen=True)
class DirectionReport:
    """Ranks of the right answer in one direction, and what is made of them.

    With `rank` the 0-based rank of a query's best right answer, Q queries:

    - `recall[K]` = 100 / Q x (number of queries with rank < K), in percent;
    - `mean_rank` = mean(rank) + 1;
    - `median_rank` = floor(median(rank)) + 1, as VSE++ prints it;

    so the best mean and median rank is 1. `ranks` (Q,) are float64 and may be half-integers:
    every other answer tied with the best right one adds one half (one tied at the top: rank 0.5,
    still within K = 1; 99 tied: 49.5, within K = 50 only).

    Source: Faghri et al., VSE++, arXiv 1707.05612, section 4 and its published evaluation code.
    """

    recall: dict[int, float]
    mean_rank: float
    median_rank: float
    ranks: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Report:
    """Both directions, with the pool they were measured on: recalls mean nothing without it.

    `images` and `captions` are the pool a query is ranked in: with protocol "1k" one fold
    (a fraction of captions is then the mean of uneven folds). `captions_per_image` is
    (fewest, most).
    """

    i2t: DirectionReport
    t2i: DirectionReport
    images: int
    captions: int | float
    captions_per_image: tuple[int, int]
    protocol: str = "full"

    @property
    def rsum(self) -> float:
        """All recalls of both directions added (with K = 1, 5, 10 at most 600)."""
        return sum(self.i2t.recall.values()) + sum(self.t2i.recall.values())

    def as_dict(self) -> dict[str, float]:
        """Flat, and ready for JSON: i2t_r1 …, i2t_mean_rank, i2t_median_rank, t2i_…, pool."""
        flat: dict[str, float] = {}
        for name, direction in (("i2t", self.i2t), ("t2i", self.t2i)):
            flat |= {f"{name}_r{k}": value for k, value in direction.recall.items()}
            flat[f"{name}_mean_rank"] = direction.mean_rank
            flat[f"{name}_median_rank"] = direction.median_rank
        return flat | {"images": self.images, "captions": self.captions}

    def __str__(self) -> str:
        fewest, most = self.captions_per_image
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        folds = f", mean of {FOLDS} folds" if self.protocol == "1k" else ""
        heads = [f"R@{k}" for k in self.i2t.recall]
        lines = [
            f"pool: {self.images:,} images, {self.captions:,} captions, {each} per image "
            f"(protocol {self.protocol}{folds}); rsum {self.rsum:.1f}",
            " " * 10 + "".join(f"{head:>8}" for head in (*heads, "mean r", "med r")),
        ]
        for name, direction in (("image→text", self.i2t), ("text→image", self.t2i)):
            recalls = "".join(f"{value:8.1f}" for value in direction.recall.values())
            lines.append(f"{name}{recalls}{direction.mean_rank:8.1f}{direction.median_rank:8g}")
        return "\n".join(lines)


def evaluate(
    image_emb: Array,
    text_emb: Array,
    owner: Array | Sequence[int],
    *,
    ks: Iterable[int] = (1, 5, 10),
    protocol: str = "full",
    tile: int | None = None,
) -> Report:
    """Rank every caption for every image and every image for every caption, by cosine.

    Args:
        image_emb: (N, D), any float type, torch or NumPy, as the encoder gives it: rows are
            normalised inside (a zero vector stays zero and scores 0 with everything).
        text_emb: (M, D), likewise; brought to the device of `image_emb`.
        owner: (M,) integers: the image that each caption describes. Every image needs at least
            one caption; an image's rank is that of its best caption.
        ks: the K of recall@K.
        protocol: "full" ranks within all images at once (on COCO's 5,000: "5K"). "1k" ranks
            within five contiguous folds of 1,000 images and averages the five reports; it takes
            the first 5,000 images, and captions in the order of their images. Source: Karpathy &
            Fei-Fei, arXiv 1412.2306.
        tile: side of the square of scores held at a time; no effect on the result. The full
            (N, M) matrix never exists.

    Returns:
        A `Report`; `report.i2t` is image to text, `report.t2i` text to image. Scores within
        5e-7 of each other are ties, and ties count at their expected rank.

    Raises:
        ValueError: naming the argument and its first bad row: non-finite or integer embeddings,
            shapes or owners that do not fit together, an image without a caption, or a data set
            that the protocol cannot be applied to.
    """
    ks = _check_ks(ks)
    images, texts = _check_embedding("image_emb", image_emb), _check_embedding("text_emb", text_emb)
    if images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"image_emb has {images.shape[1]} dimensions and text_emb {texts.shape[1]}: both "
            "branches must end in the same space"
        )
    owners = _check_owner(owner, len(images), len(texts))
    texts = texts.to(images.device)
    if tile is None:
        tile = 1024 if images.device.type == "cpu" else 8192  # 4 MB stay in a CPU's cache
    elif tile < 1:
        raise ValueError(f"tile is {tile}: at least one score must be held at a time")

    if protocol == "full":
        i2t, t2i = _embedding_ranks(images, texts, owners, tile)
        return _report(i2t, t2i, owners, ks)
    if protocol != "1k":
        raise ValueError(f'protocol is {protocol!r}: choose "full" or "1k"')
    _check_folds(owners, len(images))
    reports = []
    for first in range(0, FOLDS * FOLD_IMAGES, FOLD_IMAGES):
        last = first + FOLD_IMAGES
        captions = slice(*np.searchsorted(owners, (first, last)))
        fold_owners = owners[captions] - first
        i2t, t2i = _embedding_ranks(images[first:last], texts[captions], fold_owners, tile)
        reports.append(_report(i2t, t2i, fold_owners, ks))
    return _mean_report(reports)


def report_from_scores(
    i2t_scores: Array,
    t2i_scores: Array | None = None,
    *,
    owner: Array | Sequence[int],
    ks: Iterable[int] = (1, 5, 10),
) -> Report:
    """The same report from finished scores, for a pool small enough to hold them all.

    Each direction may have its own scores, as the best possible ranking of a generated world
    does: log P(caption | scene) for one and log P(scene | caption) for the other.

    Args:
        i2t_scores: (N, M), images by captions, higher is better; ranks captions along each row.
        t2i_scores: (N, M), likewise; ranks images down each column. None: the same scores.
        owner: (M,) integers, the image of each caption.
        ks: the K of recall@K.

    Scores may be -inf (impossible). Only equal scores tie, -inf with -inf included.

    Raises:
        ValueError: for NaN, naming its place, and for shapes or owners that do not fit.
    """
    ks = _check_ks(ks)
    i2t = t2i = _check_scores("i2t_scores", i2t_scores)
    if t2i_scores is not None:
        t2i = _check_scores("t2i_scores", t2i_scores)
        if i2t.shape != t2i.shape:
            raise ValueError(
                f"i2t_scores is {tuple(i2t.shape)} and t2i_scores {tuple(t2i.shape)}: both are "
                "(images, captions) of the same pool"
            )
    owners = _check_owner(owner, *i2t.shape)
    return _report(_score_ranks(i2t, owners)[0], _score_ranks(t2i, owners)[1], owners, ks)


# --- ranks ---


def _embedding_ranks(
    images: Tensor, texts: Tensor, owner: np.ndarray, tile: int
) -> tuple[np.ndarray, np.ndarray]:
    """0-based ranks of images (N,) and captions (M,) from embeddings (N, D) and (M, D).

    Ranks are kept doubled, so that one tied other adds a whole 1.
    """
    owners = torch.from_numpy(owner).to(images.device)  # (M,)
    # A float32 dot product of unit vectors adds D terms whose partial sums stay within 1, an error
    # of 2^-25 at most each; rounding the vectors, the products and the threshold takes 7 more.
    clear_by = TIE_TOLERANCE + (images.shape[1] + 8) * 2.0**-25

    with torch.no_grad(), _full_precision(images.device.type):
        image_unit, text_unit = _unit_float32(images), _unit_float32(texts)
        own = _pair_scores(images, texts, owners, torch.arange(len(owner), device=images.device))
        # What a query's answers are compared with; index 0 counts down columns, 1 along rows.
        targets = own, _best_own(own, owners, len(images))  # (M,), (N,)
        doubled = [torch.zeros_like(target, dtype=torch.int64) for target in targets]

        for rows, columns, own_entries in _tiles(owners, len(images), tile):
            scores = image_unit[rows] @ text_unit[columns].T  # (R, C)
            scores[own_entries] = math.nan
            exact = None
            for dim, lines in enumerate((columns, rows)):
                target, total = targets[dim][lines], doubled[dim][lines]
                above, near = _compare(scores, target, clear_by, dim)
                sure, possible = _counts(above, dim), _counts(near, dim)
                close = int((possible - sure).sum())
                # A pair scored by itself costs some fifty times its share of a product.
                if close * 50 > scores.numel():
                    if exact is None:
                        exact = _unit(images[rows]) @ _unit(texts[columns]).T
                        exact[own_entries] = math.nan
                    total += _doubled_ranks(exact, target, TIE_TOLERANCE, dim)
                    continue
                total += 2 * sure
                if close:
                    pairs = _differing(above, near, (possible > sure).nonzero()[:, 0], dim)
                    line = pairs[1 - dim]
                    lead = _pair_scores(images[rows], texts[columns], *pairs) - target[line]
                    above_or_tied = (lead > TIE_TOLERANCE).long() + (lead >= -TIE_TOLERANCE)
                    total.index_add_(0, line, above_or_tied)
    t2i, i2t = (total.cpu().numpy() / 2 for total in doubled)
    return i2t, t2i


def _tiles(
    owners: Tensor, images: int, tile: int
) -> Iterator[tuple[slice, slice, tuple[Tensor, Tensor]]]:
    """Rows, columns and own entries, counted from the tile's corner, of each tile of (N, M)."""
    for left in range(0, len(owners), tile):
        row_of = owners[left : left + tile]  # (C,)
        for top in range(0, images, tile):
            inside = ((row_of >= top) & (row_of < top + tile)).nonzero()[:, 0]
            yield slice(top, top + tile), slice(left, left + tile), (row_of[inside] - top, inside)


def _score_ranks(scores: Tensor, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0-based ranks of images (N,) and captions (M,) from a full score matrix (N, M)."""
    owners = torch.from_numpy(owner).to(scores.device)
    own_entries = owners, torch.arange(len(owner), device=scores.device)
    own = scores[own_entries]  # (M,)
    others = scores.clone()
    others[own_entries] = math.nan
    best = _best_own(own, owners, len(scores))
    i2t, t2i = _doubled_ranks(others, best, 0.0, 1), _doubled_ranks(others, own, 0.0, 0)
    return i2t.cpu().numpy() / 2, t2i.cpu().numpy() / 2


def _best_own(own: Tensor, owners: Tensor, images: int) -> Tensor:
    """The best of each image's own captions: scores (M,) -> (N,)."""
    return own.new_full((images,), -math.inf).scatter_reduce(0, owners, own, "amax")


def _doubled_ranks(scores: Tensor, target: Tensor, tolerance: float, dim: int) -> Tensor:
    """Twice the expected 0-based rank of `target` among `scores` (R, C), counted along `dim`."""
    above, near = _compare(scores, target, tolerance, dim)
    return _counts(above, dim) + _counts(near, dim)


def _compare(scores: Tensor, target: Tensor, margin: float, dim: int) -> tuple[Tensor, Tensor]:
    """Which of (R, C) lie above `target` by more than `margin`, and which not below by more."""
    target = target.unsqueeze(dim)
    high, low = (target + margin).to(scores.dtype), (target - margin).to(scores.dtype)
    return scores > high, scores >= low


def _counts(hits: Tensor, dim: int) -> Tensor:
    """How many of (R, C) booleans are true along `dim`, eight of them in one addition.

    Summing booleans converts each to int64 and takes longer than the matrix product. Read as
    words, eight bytes are added at once, and 255 words before a byte can overflow.
    """
    width = hits.shape[1]
    words = F.pad(hits, (0, -width % 8)) if width % 8 else hits
    words = words.view(torch.int64)  # (R, C / 8)
    parts = [part.sum(dim).view(torch.uint8) for part in words.split(255, dim)]
    if dim == 0:
        return torch.stack(parts).sum(0, dtype=torch.int64)[:width]
    return torch.stack(parts).view(len(parts), len(hits), 8).sum((0, 2), dtype=torch.int64)


def _differing(above: Tensor, near: Tensor, lines: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Rows and columns where two (R, C) masks differ, looking only at `lines` across `dim`."""
    across = 1 - dim
    differ = near.index_select(across, lines) ^ above.index_select(across, lines)
    pairs = list(differ.nonzero(as_tuple=True))
    pairs[across] = lines[pairs[across]]
    return pairs[0], pairs[1]


def _pair_scores(images: Tensor, texts: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Float64 cosines (P,) of P pairs, in pieces so that only few are held in float64."""
    pieces = zip(rows.split(8192), columns.split(8192), strict=True)
    return torch.cat([(_unit(images[r]) * _unit(texts[c])).sum(1) for r, c in pieces])


def _unit(rows: Tensor) -> Tensor:
    """Rows at length 1 in float64; a zero row stays zero."""
    return F.normalize(rows.double(), eps=1e-150)  # the default would leave rows below 1e-12 short


def _unit_float32(rows: Tensor) -> Tensor:
    """Rows at length 1, rounded once to float32, made in pieces."""
    units = torch.empty(rows.shape, dtype=torch.float32, device=rows.device)
    for target, piece in zip(units.split(8192), rows.split(8192), strict=True):
        target.copy_(_unit(piece))
    return units


@contextmanager
def _full_precision(device_type: str) -> Iterator[None]:
    """Real float32 products, whatever training has chosen (autocast, TF32, bfloat16)."""
    # The older torch.set_float32_matmul_precision refuses to answer once a caller has used these.
    backends = (
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]  # made when imported
    )
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


# --- reports ---


def _report(i2t: np.ndarray, t2i: np.ndarray, owner: np.ndarray, ks: tuple[int, ...]) -> Report:
    per_image = np.bincount(owner)
    return Report(
        i2t=_direction_report(i2t, ks),
        t2i=_direction_report(t2i, ks),
        images=len(i2t),
        captions=len(t2i),
        captions_per_image=(int(per_image.min()), int(per_image.max())),
    )


def _direction_report(ranks: np.ndarray, ks: tuple[int, ...]) -> DirectionReport:
    return DirectionReport(
        recall={k: 100.0 * float(np.mean(ranks < k)) for k in ks},
        mean_rank=float(ranks.mean()) + 1,
        median_rank=float(math.floor(np.median(ranks))) + 1,
        ranks=ranks,
    )


def _mean_report(reports: list[Report]) -> Report:
    """The metrics of all folds averaged; the ranks of all folds one after the other."""

    def mean(parts: list[DirectionReport]) -> DirectionReport:
        return DirectionReport(
            recall={k: float(np.mean([part.recall[k] for part in parts])) for k in parts[0].recall},
            mean_rank=float(np.mean([part.mean_rank for part in parts])),
            median_rank=float(np.mean([part.median_rank for part in parts])),
            ranks=np.concatenate([part.ranks for part in parts]),
        )

    captions = float(np.mean([report.captions for report in reports]))
    fewest, most = zip(*(report.captions_per_image for report in reports), strict=True)
    return Report(
        i2t=mean([report.i2t for report in reports]),
        t2i=mean([report.t2i for report in reports]),
        images=reports[0].images,
        captions=int(captions) if captions.is_integer() else captions,
        captions_per_image=(min(fewest), max(most)),
        protocol="1k",
    )


# --- what is refused ---


def _as_tensor(values: object) -> Tensor:
    if isinstance(values, Tensor):
        # Apple's GPUs have no float64, which the close calls need.
        return values.detach().cpu() if values.is_mps else values.detach()
    array = np.asarray(values)
    # Torch takes neither foreign byte order nor negative strides, and warns of read-only memory.
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _check_embedding(name: str, values: object) -> Tensor:
    rows = _as_tensor(values)
    if not rows.is_floating_point():
        raise ValueError(f"{name} holds {rows.dtype}: give floats, as the encoder returns them")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}, expected (rows, dimensions)")
    # The length is finite only if every entry is, and if it can be divided by.
    bad = (~torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).isfinite()).nonzero()
    if len(bad):
        raise ValueError(
            f"{name} row {int(bad[0])} is not finite ({len(bad)} of {len(rows)} rows): it cannot "
            "be ranked. Look for a diverged loss or an overflow in half precision"
        )
    return rows


def _check_scores(name: str, values: object) -> Tensor:
    scores = _as_tensor(values)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"{name} has shape {tuple(scores.shape)}, expected (images, captions)")
    bad = scores.isnan().nonzero()
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is NaN ({len(bad)} such): it cannot be ranked")
    return scores if scores.is_floating_point() else scores.double()


def _check_owner(owner: object, images: int, captions: int) -> np.ndarray:
    values = owner.detach().cpu().numpy() if isinstance(owner, Tensor) else np.asarray(owner)
    if values.shape != (captions,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"owner has shape {values.shape} and type {values.dtype}: the {captions} "
            "captions need one integer each, the index of its image"
        )
    outside = np.flatnonzero((values < 0) | (values >= images))
    if len(outside):
        raise ValueError(
            f"owner[{outside[0]}] is {values[outside[0]]}, outside 0 to {images - 1}: there are "
            f"{images} images"
        )
    values = values.astype(np.int64)
    lacking = np.flatnonzero(np.bincount(values, minlength=images) == 0)
    if len(lacking):
        raise ValueError(
            f"image {lacking[0]} has no caption ({len(lacking)} such): it has no rank. Leave "
            "these images out, or give their captions"
        )
    return values


def _check_ks(ks: Iterable[int]) -> tuple[int, ...]:
    checked = tuple(sorted({operator.index(k) for k in ks}))
    if not checked or checked[0] < 1:
        raise ValueError(f"ks is {checked}: recall@K needs at least one K, each 1 or more")
    return checked


def _check_folds(owner: np.ndarray, images: int) -> None:
    needed = FOLDS * FOLD_IMAGES
    if images < needed or images % FOLD_IMAGES:
        raise ValueError(
            f'protocol "1k" takes {FOLDS} folds of {FOLD_IMAGES} images: it needs {needed} images '
            f'or more, in whole thousands, and there are {images}. Use protocol "full"'
        )
    steps_back = np.flatnonzero(np.diff(owner) < 0)
    if len(steps_back):
        j = steps_back[0] + 1
        raise ValueError(
            f'protocol "1k" needs captions in the order of their images, but owner[{j}] = '
            f"{owner[j]} follows {owner[j - 1]}: sort the captions by owner first"
        )
