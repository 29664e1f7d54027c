"""The answers to the tasks of exercise 06."""

from answers import correlations, hidden_pairs
from mmret_lib.checks import barlow_twins

CHECKS = {
    "standardise": barlow_twins.check_standardise,
    "cross_correlation": barlow_twins.check_cross_correlation,
    "barlow_twins": barlow_twins.check_barlow_twins,
    "hidden_pairs": barlow_twins.check_hidden_pairs,
    "running_standardiser": barlow_twins.check_running_standardiser,
}
RIGHT = {
    "standardise": correlations.RIGHT_STANDARD,
    "cross_correlation": correlations.RIGHT_CORRELATE,
    "barlow_twins": correlations.RIGHT_LOSS,
    "hidden_pairs": hidden_pairs.RIGHT_HIDDEN,
    "running_standardiser": hidden_pairs.RIGHT_RUNNING,
}
SQUARED = "squares do not see the sign"
SHAPE = "only the shape and the kind of a batch are taken from it"
EQUIVALENT: dict[str, dict[str, str]] = {
    "barlow_twins": {
        "arguments swapped in `cross_correlation(image_emb, text_emb)`": (
            "C is transposed, and its two sums stay as they are"
        ),
        "terms swapped in `correlation - torch.diag(diagonal)`": SQUARED,
        "terms swapped in `1 - diagonal`": SQUARED,
    },
    "hidden_pairs": {
        "-> (standardise(text_emb), standardise(image_emb)) in "
        "`images, texts = (standardise(image_emb), standardise(text_emb))`": (
            "both sums are the same with the branches exchanged"
        )
    },
    "running_standardiser": {
        "0 -> -1 in `batches[0]`": SHAPE,
        "0 -> -1 in `batches[0]` (2)": SHAPE,
    },
}
WRONG = {
    "standardise": correlations.WRONG_STANDARD,
    "cross_correlation": correlations.WRONG_CORRELATE,
    "barlow_twins": correlations.WRONG_LOSS,
    "hidden_pairs": hidden_pairs.WRONG_HIDDEN,
    "running_standardiser": hidden_pairs.WRONG_RUNNING,
}
