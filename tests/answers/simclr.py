"""Answers to exercise 05: log-sum-exp, the two losses, and their derivatives in closed form."""

from answers import simclr_derivatives, simclr_losses, simclr_sums
from mmret_lib.checks import simclr

CHECKS = {
    "log_sum_exp": simclr.check_log_sum_exp,
    "simclr": simclr.check_simclr,
    "info_nce": simclr.check_info_nce,
    "simclr_weights": simclr.check_simclr_weights,
    "temperature_gradient": simclr.check_temperature_gradient,
}
RIGHT = {
    "log_sum_exp": simclr_sums.RIGHT,
    "simclr": simclr_losses.RIGHT_SIMCLR,
    "info_nce": simclr_losses.RIGHT_INFO_NCE,
    "simclr_weights": simclr_derivatives.RIGHT_WEIGHTS,
    "temperature_gradient": simclr_derivatives.RIGHT_TEMPERATURE,
}
WRONG = {
    "log_sum_exp": simclr_sums.WRONG,
    "simclr": simclr_losses.WRONG_SIMCLR,
    "info_nce": simclr_losses.WRONG_INFO_NCE,
    "simclr_weights": simclr_derivatives.WRONG_WEIGHTS,
    "temperature_gradient": simclr_derivatives.WRONG_TEMPERATURE,
}

DEFAULT = "1 is its default"
SHIFT = "any finite number may be subtracted from a row of infinite entries"
HIDDEN = "what stands there is replaced by -inf afterwards, and gets no gradient"
ADDED = "the costs of all queries and of both directions are added up in the end"
EQUIVALENT: dict[str, dict[str, str]] = {
    "log_sum_exp": {
        "0 -> 1 in `largest.masked_fill(largest.isinf(), 0)`": SHIFT,
        "0 -> -1 in `largest.masked_fill(largest.isinf(), 0)`": SHIFT,
        "without detach in `x.detach()`": "the derivatives of what is subtracted and added cancel",
        "1 -> 2 in `total.masked_fill(empty, 1)`": HIDDEN,
        "1 -> 0 in `total.masked_fill(empty, 1)`": HIDDEN,
    },
    "simclr": {
        "image_emb -> text_emb in `len(image_emb)`": "both have B rows",
        "without dim= in `F.normalize(image_emb, dim=1)`": DEFAULT,
        "without dim= in `F.normalize(text_emb, dim=1)`": DEFAULT,
        "-> (logits.T, logits) in ` for way in (logits, logits.T)`": ADDED,
        "1 -> 0 in `log_sum_exp(way.masked_fill(is_positive, -torch.inf), 1)`": ADDED,
    },
    "info_nce": {
        "without dim= in `F.normalize(image_emb, dim=1)`": DEFAULT,
        "without dim= in `F.normalize(text_emb, dim=1)`": DEFAULT,
    },
    "temperature_gradient": {
        f"2 -> {dim} in `(simclr_weights(similarity, temperature) * both).sum(dim=2)`": ADDED
        for dim in (1, -2)
    },
}
