"""Measure a trained model on a split: what `mmret evaluate` prints and writes.

It stands among the studies because it needs the data, the model, its run and the metrics, and no
room further down may import all four.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmret_lib.data.features import Features
from mmret_lib.data.judgements import Judgements, read_judgements, scene_truth
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import data_for
from mmret_lib.files.errors import DataError, visible
from mmret_lib.files.output import say
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import write_text
from mmret_lib.metrics.ceiling import CEILING_NOTE, best_possible
from mmret_lib.metrics.diagnosis import diagnose
from mmret_lib.metrics.failures import query_table
from mmret_lib.metrics.intervals import compare, compare_text, interval_text
from mmret_lib.metrics.judged import evaluate_judged
from mmret_lib.metrics.published import comparable_with
from mmret_lib.metrics.report import Report, evaluate
from mmret_lib.training.devices import pick_device
from mmret_lib.training.leak import find_leak
from mmret_lib.training.run_folder import load_run


def evaluate_run(
    model: DualEncoder,
    pairs: Pairs,
    *,
    name: str,
    protocol: str = "full",
    judgements: Path | None = None,
    against: Path | None = None,
    table: Path | None = None,
    json_file: Path | None = None,
    max_unreadable: float = 0.01,
    allow_leak: bool = False,
    recorded: bool = False,
    findings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Print a model's recalls with their 95 % intervals, and write the files asked for.

    A line says which published figures they may be compared with.

    On the built-in world it also prints the best recalls that a system scoring each pair by itself
    can reach, and those that count every picture of which a caption is true as a right answer.

    Args:
        model: the trained model.
        pairs: what to rank; images that cannot be read are left out.
        name: of the run, to be printed.
        protocol: "full" or "1k", as in `mmret_lib.metrics.evaluate`.
        judgements: file or folder with more right answers for COCO, see `read_judgements`.
        against: another run folder, compared with this model image by image.
        table: CSV file to write, with every query, its rank and hits and the best wrong answer.
        json_file: JSON file to write, with the figures that are returned.
        max_unreadable: share of images that may be left out because they cannot be read.
        allow_leak: rank images that the model was trained on, too.
        recorded: the run's record says that it was trained on these images; see `find_leak`.
        findings: what was wrong at the end of the training, `Run.findings`, to be said again.

    Returns:
        `Report.as_dict()`, under "findings" what is wrong with the embeddings or was with the
        training, if anything, under "judged" and "against" what was asked for, and under
        "trained_on" how many images were trained on, if any.

    Raises:
        DataError: the model, or the one that it is compared with, was trained on some of these
            images, and `allow_leak` is not set; the protocol does not fit the data set, an
            embedding is not finite, or a file cannot be used.
    """
    data = data_for(model.to(pick_device()), pairs, max_unreadable=max_unreadable)
    leak = find_leak(model, data, recorded=recorded)
    if not allow_leak:
        leak.refuse()
    pairs = data.pairs
    other = _open_other(against, pairs, max_unreadable, allow_leak) if against else None
    sources = read_judgements(judgements, pairs) if judgements else []
    title = f"{name} on {pairs.name} {pairs.split}"
    report, image_emb, text_emb = _rank(model, data, protocol, title)
    say("\n".join(filter(None, (f"{title}:\n{report}", interval_text(report), leak.text))))
    figures: dict[str, Any] = report.as_dict()
    figures |= _findings(image_emb, text_emb, pairs, findings or {})
    if leak.count:
        figures["trained_on"] = leak.count
    pool = pairs.name, pairs.split, len(pairs), len(pairs.captions)
    if comparable := comparable_with(*pool, protocol):
        say(f"comparable: {comparable}")
    if pairs.name == "scenes" and protocol == "full":
        say(f"the best possible here, {CEILING_NOTE}:\n{best_possible(pairs)}")
        sources = [scene_truth(pairs)]
    for source in sources:
        judged = evaluate_judged(image_emb, text_emb, source)
        say(judged)
        if judgements:
            figures.setdefault("judged", {})[source.name] = judged.as_dict()
    if against and other:
        other_report, *_ = _rank(*other, protocol, str(against))
        difference = compare(report, other_report)
        say(f"against {against}:\n{compare_text(difference, name, against.name)}")
        figures["against"] = (
            difference.astype(object).where(difference.notna(), None).to_dict("index")
        )
    if table:
        _write_queries(table, image_emb, text_emb, pairs, sources[0] if sources else None)
        say(f"wrote {table}, the worst failures first")
    if json_file:
        write_json(json_file, figures)
        say(f"wrote {json_file}")
    return figures


def _findings(
    image_emb: Tensor, text_emb: Tensor, pairs: Pairs, in_training: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Say what is wrong with the embeddings, or was with the training; "findings" -> the lines."""
    found = {n: f"in training, {line}" for n, line in in_training.items()}
    found |= diagnose(image_emb, text_emb, pairs.owner)
    for line in found.values():
        say(f"warning: {line}", file=sys.stderr)
    return {"findings": found} if found else {}


def _open_other(
    run: Path, pairs: Pairs, max_unreadable: float, allow_leak: bool
) -> tuple[DualEncoder, Store | Features]:
    """The model that is compared, and the same images as it takes them."""
    model, _ = load_run(run)
    data = data_for(model.to(pick_device()), pairs, max_unreadable=max_unreadable)
    if not allow_leak:
        find_leak(model, data).refuse(str(run))
    return model, data


def _rank(
    model: DualEncoder, data: Store | Features, protocol: str, title: str
) -> tuple[Report, Tensor, Tensor]:
    """The report, and the embeddings of images (N, D) and captions (M, D) that it ranks."""
    image_emb, text_emb = model.encode_images(data), model.encode_texts(data.texts(slice(None)))
    try:
        report = evaluate(image_emb, text_emb, data.owner, protocol=protocol)
    except ValueError as error:
        raise DataError(f"{title}: {error}") from None
    return report, image_emb, text_emb


def _write_queries(
    path: Path, image_emb: Tensor, text_emb: Tensor, pairs: Pairs, judgements: Judgements | None
) -> None:
    queries = query_table(
        image_emb,
        text_emb,
        pairs.owner,
        images=[visible(image.name) for image in pairs.images],
        captions=[visible(caption) for caption in pairs.captions],
        judgements=judgements,
    )
    write_text(path, queries.sort_values("lead").to_csv(index=False, lineterminator="\n"))
