"""The answers to exercise 04."""

from mmret_lib.checks import triplet_losses

from . import cosines, duplicates, hinges, shares, wrong_hinges

CHECKS = {
    "cosine_similarity_matrix": triplet_losses.check_cosine_similarity_matrix,
    "sum_triplet": triplet_losses.check_sum_triplet,
    "max_triplet": triplet_losses.check_max_triplet,
    "masked_max_triplet": triplet_losses.check_masked_max_triplet,
    "negative_weights": triplet_losses.check_negative_weights,
}
RIGHT = {
    "cosine_similarity_matrix": cosines.RIGHT_COSINES,
    "sum_triplet": hinges.rights("sum"),
    "max_triplet": hinges.rights("max"),
    "masked_max_triplet": duplicates.RIGHT_DUPLICATES,
    "negative_weights": shares.RIGHT_SHARES,
}
WRONG = {
    "cosine_similarity_matrix": cosines.WRONG_COSINES,
    "sum_triplet": wrong_hinges.wrongs("sum"),
    "max_triplet": wrong_hinges.wrongs("max"),
    "masked_max_triplet": duplicates.WRONG_DUPLICATES,
    "negative_weights": shares.WRONG_SHARES,
}
