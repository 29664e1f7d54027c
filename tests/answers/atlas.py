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
EQUIVALENT: dict[str, dict[str, str]] = {}
