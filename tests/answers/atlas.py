"""The answers to exercise 14."""

from answers import atlas_ap, atlas_shares, atlas_siglip, atlas_softmax, atlas_top_k
from mmret_lib.checks import atlas

CHECKS = {
    "margin_softmax": atlas.check_margin_softmax,
    "top_k_triplet": atlas.check_top_k_triplet,
    "siglip": atlas.check_siglip,
    "smooth_ap": atlas.check_smooth_ap,
    "shares": atlas.check_shares,
}
RIGHT = {
    "margin_softmax": atlas_softmax.RIGHT,
    "top_k_triplet": atlas_top_k.RIGHT,
    "siglip": atlas_siglip.RIGHT,
    "smooth_ap": atlas_ap.RIGHT,
    "shares": atlas_shares.RIGHT,
}
WRONG = {
    "margin_softmax": atlas_softmax.WRONG,
    "top_k_triplet": atlas_top_k.WRONG,
    "siglip": atlas_siglip.WRONG,
    "smooth_ap": atlas_ap.WRONG,
    "shares": atlas_shares.WRONG,
}

# What `tests/mutants.py` makes of the solutions that is a right answer all the same, and why.
BOTH = "both directions are added, so exchanging them changes nothing"
COLUMNS = "with the positives along the columns, the other direction is computed: both are added"
SAME: dict[str, str] = {
    "without dim= in `F.normalize(image_emb, dim=1)`": "1 is its default",
    "without dim= in `F.normalize(text_emb, dim=1)`": "1 is its default",
}
WAYS: dict[str, str] = {
    **SAME,
    "-> (None, None) in `similarity.diagonal()[:, None]`": COLUMNS,
    "-> (similarity.T, similarity) in ` for way in (similarity, similarity.T)`": BOTH,
}
HINGES = "(margin - positive + way).relu().masked_fill(is_positive, 0)"
EQUIVALENT: dict[str, dict[str, str]] = {
    "margin_softmax": WAYS,
    "top_k_triplet": {
        **WAYS,
        "arguments swapped in `min(k, len(similarity))`": "a minimum does not depend on the order",
        f"without dim= in `{HINGES}.topk(places, dim=1)`": "the last dimension is its default",
    },
    "siglip": {
        **SAME,
        "without dtype= in `torch.eye(len(logits), dtype=logits.dtype, device=logits.device)`": (
            "1 and -1 are exact in float32, which is promoted to float64 in a product"
        ),
        "1 -> 0 in `costs.sum(dim=1)`": "all costs are added up in the end",
    },
    "smooth_ap": WAYS,
    "shares": {
        "0 -> -1 in `torch.autograd.grad(loss(rows), rows)[0]`": "it is a tuple of one",
        "1 -> 2 in `total.where(total > 0, 1)`": "what is divided by it is a row of zeros",
        "without detach in `rows.detach()`": (
            "a clone of what is differentiated elsewhere is a fine input, too"
        ),
    },
}
