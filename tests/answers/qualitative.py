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
EQUIVALENT: dict[str, dict[str, str]] = {}
