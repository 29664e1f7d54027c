"""The rank of the right answer: how many wrong answers score above it.

For every image all captions are ranked by cosine similarity, and for every caption all images.
Counting is enough, nothing is sorted; and the (N, M) matrix of all scores never exists: it is made
in tiles that stay in the cache, and each tile is counted in both directions before the next one.
`score_ranks` is the same count on a finished matrix, in a few lines.

Four things go wrong in the plain ten-line version, and each shapes this file:

- **A positive compared with itself.** Its score computed row by row differs in the last bits from
  the same score inside a matrix product, whose own bits change with the product's shape; then
  `score > positive` counts positives against themselves and R@1 falls by a third or more. Here own
  entries are left out by index: they are NaN before the comparison, and NaN compares false.
- **Ties.** Counting only what scores strictly higher gives a model that answers the same to
  everything R@1 = 100 %. So the answers above and those that tie are counted apart; `ties` computes
  ranks and hits from them.
- **NaN.** No comparison with NaN is true, so an all-NaN model would be perfect, too. `inputs`
  refuses it, by row.
- **Rounding.** Float32 products err by up to D / 2^25, enough to break the ties of a constant
  model. Float32 therefore decides only what is clear of that bound (nearly everything); the
  close calls are scored again in float64. The ranks do not depend on the tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mmret_lib.metrics.ties import RankCounts

# Cosines closer than this are a tie: what float32 embeddings themselves carry in rounding.
TIE_TOLERANCE = 5e-7
PIECE = 8192  # rows that are held in float64 at a time
LONG = 5e9  # scores from which on a progress bar is shown

Owner = npt.NDArray[np.int64]


def score_ranks(scores: Tensor, owner: Owner) -> tuple[RankCounts, RankCounts]:
    """Rank the right answers in a full score matrix (N, M).

    Args:
        scores: higher is better; -inf is allowed, NaN is not.
        owner: (M,), the image of each caption.

    Returns:
        The counts of N images and M captions.
    """
    owners = torch.from_numpy(owner).to(scores.device)
    own_entries = owners, torch.arange(len(owner), device=scores.device)
    own = scores[own_entries]  # (M,)
    others = scores.clone()
    others[own_entries] = math.nan
    best = _best_own(own, owners, len(scores))
    i2t, t2i = count_above(others, best, 0.0, 1), count_above(others, own, 0.0, 0)
    return _of_images(i2t, own, best, owners, 0.0), _of_captions(t2i)


def count_above(scores: Tensor, target: Tensor, tolerance: float, dim: int) -> Tensor:
    """Count among `scores` (R, C) along `dim` what is above `target`, and what is above or tied.

    Returns:
        (2, n), n the length of `target`; index 0 is above, 1 above or tied.
    """
    target = target.unsqueeze(dim)
    above = (scores > (target + tolerance).to(scores.dtype)).sum(dim)
    return torch.stack([above, (scores >= (target - tolerance).to(scores.dtype)).sum(dim)])


def _of_images(
    counted: Tensor, own: Tensor, best: Tensor, owners: Tensor, tolerance: float
) -> RankCounts:
    """What `count_above` found for images (2, N), with their own captions that tie for the best."""
    at_best = own >= best[owners] - tolerance  # (M,)
    own_tied = torch.bincount(owners[at_best], minlength=len(best))
    above, or_tied = counted.cpu().numpy()
    return RankCounts(above, or_tied - above, own_tied.cpu().numpy())


def _of_captions(counted: Tensor) -> RankCounts:
    """What `count_above` found for captions (2, M): each has one right image."""
    above, or_tied = counted.cpu().numpy()
    return RankCounts(above, or_tied - above, np.ones_like(above))


def embedding_ranks(
    images: Tensor, texts: Tensor, owner: Owner, tile: int | None = None
) -> tuple[RankCounts, RankCounts]:
    """Rank the right answers by the cosines of embeddings (N, D) and (M, D).

    All of it is checked already (see `inputs.check_pool`). Beside unit vectors in float32, the
    memory that is needed is bounded by the tile.

    Args:
        images, texts: both on one device, finite.
        owner: (M,), the image of each caption.
        tile: side of the square of scores held at a time.

    Returns:
        The counts of N images and M captions.
    """
    device = images.device
    tile = min(tile or (1024 if device.type == "cpu" else 8192), max(len(images), len(texts)))
    panels = list(slices(len(texts), tile))
    short = len(images) * len(texts) < LONG
    bar = tqdm(total=len(texts), desc="ranking", unit="caption", disable=short, leave=False)
    with full_precision(device.type), bar:
        counter = _Counter(images, texts, torch.from_numpy(owner).to(device), tile)
        i2t = torch.zeros(2, len(images), dtype=torch.int64, device=device)
        t2i = torch.zeros(2, len(texts), dtype=torch.int64, device=device)
        with closing(_in_threads(counter.count, panels, device)) as counts:
            for columns, (of_captions, of_images) in zip(panels, counts, strict=True):
                t2i[:, columns] = of_captions
                i2t += of_images
                bar.update(columns.stop - columns.start)
    own, best = counter.targets
    return _of_images(i2t, own, best, counter.owners, TIE_TOLERANCE), _of_captions(t2i)


def _in_threads(
    count: Callable[[slice], tuple[Tensor, Tensor]], panels: list[slice], device: torch.device
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Count every panel, on a CPU by as many threads as torch may use, in order.

    Each panel stays with one core and its cache. Torch's own threads would wait for one another
    after each of the ten small steps of a tile, which on a busy machine takes several times as long
    as the steps themselves.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(panels) == 1:
        yield from map(count, panels)
        return

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(count, panels)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads yet to come; this one has kept its own


class _Counter:
    """Count the answers that score above the right ones, one panel of captions at a time."""

    def __init__(self, images: Tensor, texts: Tensor, owners: Tensor, tile: int) -> None:
        self.owners, self.tile = owners, tile
        # A float32 dot product of unit vectors adds D terms whose partial sums stay within 1, an
        # error of 2^-25 at most each; rounding the vectors, products and thresholds takes 7 more.
        margin = TIE_TOLERANCE + (images.shape[1] + 8) * 2.0**-25
        self.pair_scores = PairScores(images, texts)
        self.image_unit, self.text_unit = self.pair_scores.float32()
        own = self.pair_scores(owners, torch.arange(len(owners), device=owners.device))
        # What a query's answers are compared with; index 0 counts down columns, 1 along rows.
        self.targets = own, _best_own(own, owners, len(images))  # (M,), (N,)
        self.lows = [(target - margin).float() for target in self.targets]
        self.highs = [(target + margin).float() for target in self.targets]

    def count(self, columns: slice) -> tuple[Tensor, Tensor]:
        """Counts of the panel's captions (2, C), and its share of the images' counts (2, N)."""
        device, images = self.owners.device, len(self.image_unit)
        width = columns.stop - columns.start
        totals = [torch.zeros(2, n, dtype=torch.int64, device=device) for n in (width, images)]
        buffers = [torch.empty(min(self.tile, images), width, device=device) for _ in range(2)]
        close_calls: list[tuple[int, Tensor, Tensor]] = []  # direction, rows, places in the panel
        for rows in slices(images, self.tile):
            scores, hits = (buffer[: rows.stop - rows.start] for buffer in buffers)  # (R, C)
            torch.mm(self.image_unit[rows], self.text_unit[columns].T, out=scores)
            own_entries = own_entries_of(self.owners[columns], rows)
            scores[own_entries] = math.nan  # compares false with everything
            exact = None
            for dim, (lines, total) in enumerate(
                ((columns, totals[0]), (rows, totals[1][:, rows]))
            ):
                low, high = (ends[dim][lines].unsqueeze(dim) for ends in (self.lows, self.highs))
                # Hits are written as floats: booleans take eight times as long to make.
                above = torch.gt(scores, high, out=hits).sum(dim)
                possible = torch.ge(scores, low, out=hits).sum(dim)
                close = int((possible - above).sum())
                # Scoring a single pair takes some fifty times as long as its share of a product.
                if close * 50 > scores.numel():
                    if exact is None:
                        exact = self.pair_scores.block(rows, columns)
                        exact[own_entries] = math.nan
                    total += count_above(exact, self.targets[dim][lines], TIE_TOLERANCE, dim)
                    continue
                total += above.long()
                if close:
                    undecided = (possible > above).nonzero()[:, 0]
                    near_rows, near_places = _close_pairs(scores, low, high, undecided, dim)
                    close_calls.append((dim, near_rows + rows.start, near_places))
        self._add_close_calls(close_calls, columns, totals)
        return totals[0], totals[1]

    def _add_close_calls(
        self, close_calls: list[tuple[int, Tensor, Tensor]], columns: slice, totals: list[Tensor]
    ) -> None:
        """Decide in float64 what float32 could not, all at once to save calls."""
        for dim in (0, 1):
            calls = [(rows, places) for way, rows, places in close_calls if way == dim]
            if not calls:
                continue
            rows, places = (torch.cat(parts) for parts in zip(*calls, strict=True))
            target = self.targets[dim][rows if dim else places + columns.start]
            lead = self.pair_scores(rows, places + columns.start) - target
            counted = torch.stack([lead > TIE_TOLERANCE, lead >= -TIE_TOLERANCE]).long()
            totals[dim].index_add_(1, rows if dim else places, counted)


def _close_pairs(
    scores: Tensor, low: Tensor, high: Tensor, lines: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """Rows and columns of scores from `low` to `high`, looking only at `lines` across `dim`."""
    across = 1 - dim
    part = scores.index_select(across, lines)
    near = (part >= low.index_select(across, lines)) & (part <= high.index_select(across, lines))
    entries = list(near.nonzero(as_tuple=True))
    entries[across] = lines[entries[across]]
    return entries[0], entries[1]


def own_entries_of(owners: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Rows and columns of a tile's own pairs; `owners` (C,) are the images of its captions."""
    inside = ((owners >= rows.start) & (owners < rows.stop)).nonzero()[:, 0]
    return owners[inside] - rows.start, inside


def _best_own(own: Tensor, owners: Tensor, images: int) -> Tensor:
    """The best of each image's own captions: scores (M,) -> (N,)."""
    return own.new_full((images,), -math.inf).scatter_reduce(0, owners, own, "amax")


class PairScores:
    """Float64 cosines of chosen pairs. Rows are normalised as they are needed, never all at once.

    A zero row scores 0 with everything.
    """

    def __init__(self, images: Tensor, texts: Tensor) -> None:
        self.images, self.texts = images, texts
        self.image_scale, self.text_scale = _inverse_lengths(images), _inverse_lengths(texts)

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(P,) cosines of P pairs."""
        pieces = zip(torch.split(rows, PIECE), torch.split(columns, PIECE), strict=True)
        return torch.cat([(self._image(r) * self._text(c)).sum(1) for r, c in pieces])

    def block(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        """(R, C) cosines of all pairs of some rows and some columns."""
        return self._image(rows) @ self._text(columns).T

    def float32(self) -> tuple[Tensor, Tensor]:
        """All rows of both sides at length 1, rounded once to float32."""
        units = []
        for rows, unit in ((self.images, self._image), (self.texts, self._text)):
            units.append(torch.empty(rows.shape, dtype=torch.float32, device=rows.device))
            for piece in slices(len(rows), PIECE):
                units[-1][piece] = unit(piece)
        return units[0], units[1]

    def _image(self, rows: slice | Tensor) -> Tensor:
        return self.images[rows].double() * self.image_scale[rows].unsqueeze(1)

    def _text(self, rows: slice | Tensor) -> Tensor:
        return self.texts[rows].double() * self.text_scale[rows].unsqueeze(1)


def _inverse_lengths(rows: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return torch.where(length > 1e-150, 1 / length, 0.0)  # below, 1 / length could be infinite


def slices(length: int, step: int) -> Iterator[slice]:
    """Cut 0 to `length` into slices of `step`, the last one shorter."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute without gradients and in full float32, even if training uses less.

    Training may have switched on autocast, TF32 or bfloat16 products; afterwards they are restored.
    """
    # The older torch.set_float32_matmul_precision refuses to answer once a caller has used these.
    backends = (
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]  # made when imported
    )
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.no_grad(), torch.autocast(device_type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
