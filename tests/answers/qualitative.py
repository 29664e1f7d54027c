"""The answers to exercise 09."""

from answers import qualitative_gaps, qualitative_hubs, qualitative_planes, qualitative_truths
from mmret_lib.checks import qualitative

CHECKS = {
    "hubness": qualitative.check_hubness,
    "modality_gap": qualitative.check_modality_gap,
    "principal_plane": qualitative.check_principal_plane,
    "right_answers": qualitative.check_right_answers,
}
RIGHT = {
    "hubness": qualitative_hubs.RIGHT,
    "modality_gap": qualitative_gaps.RIGHT,
    "principal_plane": qualitative_planes.RIGHT,
    "right_answers": qualitative_truths.RIGHT,
}
WRONG = {
    "hubness": qualitative_hubs.WRONG,
    "modality_gap": qualitative_gaps.WRONG,
    "principal_plane": qualitative_planes.WRONG,
    "right_answers": qualitative_truths.WRONG,
}

# What `tests/mutants.py` makes of the solutions that is a right answer all the same, and why.
BOTH = "F.normalize(image_emb, dim=1), F.normalize(text_emb, dim=1)"
TURNED = "F.normalize(text_emb, dim=1), F.normalize(image_emb, dim=1)"
SQUARED = "the difference is squared"
CUT = "F.pad with a negative number cuts off the columns that are too many"
EITHER = "`in` does not depend on the order"
EQUIVALENT: dict[str, dict[str, str]] = {
    "hubness": {
        "without float in `float((off ** 3).mean() / deviation ** 3)`": (
            "a tensor of shape () is one number, too"
        ),
        "without dim= in `similarity.topk(k, dim=1)`": "the last dimension is its default",
        "comparison in `similarity > least`": (
            "a tied answer then gets 1 + (k - a - e) / e, which is (k - a) / e"
        ),
        "1e-06 -> 2e-06 in `off.square().mean().sqrt().clamp(min=1e-06)`": (
            "counts that are not equal differ by far more than either"
        ),
    },
    "modality_gap": {
        f"-> ({TURNED}) in `images, texts = ({BOTH})`": "gap and share are symmetric",
        "without dim= in `F.normalize(image_emb, dim=1)`": "1 is its default",
        "without dim= in `F.normalize(text_emb, dim=1)`": "1 is its default",
        "terms swapped in `image_mean - text_mean`": SQUARED,
        "terms swapped in `images - image_mean`": SQUARED,
        "terms swapped in `texts - text_mean`": SQUARED,
        "1e-12 -> 2e-12 in `(squared + spread).clamp(min=1e-12)`": (
            "what is smaller than either is a rounding of 0"
        ),
    },
    "principal_plane": {
        "terms swapped in `emb - emb.mean(dim=0)`": "each column gets its sign by the rule",
        "operator in `centred.T @ centred / len(emb)`": "a factor leaves the eigenvectors alone",
        "left term alone in `centred.T @ centred / len(emb)`": (
            "a factor leaves the eigenvectors alone"
        ),
        "comparison in `largest < 0`": "where the largest is 0 the column is 0, and so is -0",
        "-> (:, :) in `directions.flip(1)[:, :2]`": CUT,
        "2 -> 3 in `directions.flip(1)[:, :2]`": CUT,
        "2 -> 4 in `directions.flip(1)[:, :2]`": CUT,
    },
    "right_answers": {
        "zeros -> ones in `torch.zeros(len(scenes), len(captions_scene), dtype=torch.bool)`": (
            "each entry is written"
        ),
        "-> (scene['place'], None) in `caption['place'] in (None, scene['place'])`": EITHER,
        "-> (group['size'], None) in `mention['size'] in (None, group['size'])`": EITHER,
    },
}
