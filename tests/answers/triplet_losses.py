"""The answers to exercise 04."""

from mmret_lib.checks import triplet_losses

from . import cosines, duplicates, hinges, semi_hard, shares, wrong_hinges

CHECKS = {
    "cosine_similarity_matrix": triplet_losses.check_cosine_similarity_matrix,
    "sum_triplet": triplet_losses.check_sum_triplet,
    "max_triplet": triplet_losses.check_max_triplet,
    "masked_max_triplet": triplet_losses.check_masked_max_triplet,
    "negative_weights": triplet_losses.check_negative_weights,
    "semi_hard_triplet": triplet_losses.check_semi_hard_triplet,
}
RIGHT = {
    "cosine_similarity_matrix": cosines.RIGHT_COSINES,
    "sum_triplet": hinges.rights("sum"),
    "max_triplet": hinges.rights("max"),
    "masked_max_triplet": duplicates.RIGHT_DUPLICATES,
    "negative_weights": shares.RIGHT_SHARES,
    "semi_hard_triplet": semi_hard.RIGHT_SEMI_HARD,
}
WRONG = {
    "cosine_similarity_matrix": cosines.WRONG_COSINES,
    "sum_triplet": wrong_hinges.wrongs("sum"),
    "max_triplet": wrong_hinges.wrongs("max"),
    "masked_max_triplet": duplicates.WRONG_DUPLICATES,
    "negative_weights": shares.WRONG_SHARES,
    "semi_hard_triplet": semi_hard.WRONG_SEMI_HARD,
}

# What `tests/mutants.py` makes of the solutions that is a right answer all the same, and why.
BOTH = "both directions are added, so exchanging the branches changes nothing"
DIAGONAL = (
    "the positive of a text stands in its column; over both directions the hinges are the same"
)
AMAX = "the maximum is at least 0, for the diagonal is set to 0"
EQUIVALENT: dict[str, dict[str, str]] = {
    "cosine_similarity_matrix": {
        "without dim= in `F.normalize(image_emb, dim=1)`": "1 is its default",
        "without dim= in `F.normalize(text_emb, dim=1)`": "1 is its default",
    },
    "sum_triplet": {
        "arguments swapped in `cosine_similarity_matrix(image_emb, text_emb)`": BOTH,
        "-> (similarity.T, similarity) in ` for way in (similarity, similarity.T)`": BOTH,
        "-> (None, :) in `similarity.diagonal()[:, None]`": DIAGONAL,
        "-> (None, None) in `similarity.diagonal()[:, None]`": DIAGONAL,
        "1 -> 0 in `(margin - positive + way).relu().masked_fill(is_positive, 0).sum(dim=1)`": (
            "all hinges are added up in the end"
        ),
    },
    "max_triplet": {
        "arguments swapped in `cosine_similarity_matrix(image_emb, text_emb)`": BOTH,
        "-> (similarity.T, similarity) in ` for way in (similarity, similarity.T)`": BOTH,
        "-> (None, None) in `similarity.diagonal()[:, None]`": DIAGONAL,
        "0 -> -1 in `(margin - positive + way).relu().masked_fill(is_positive, 0)`": (
            "a hinge is at least 0, so -1 is never the maximum"
        ),
        "without relu in `(margin - positive + way).relu()`": AMAX,
    },
    "masked_max_triplet": {
        "arguments swapped in `cosine_similarity_matrix(image_emb, text_emb)`": BOTH,
        "-> (similarity.T, similarity) in ` for way in (similarity, similarity.T)`": BOTH,
        "-> (None, None) in `similarity.diagonal()[:, None]`": DIAGONAL,
        "without relu in `(margin - positive + way).relu()`": AMAX,
    },
    "negative_weights": {
        "0 -> -1 in `torch.autograd.grad(direction(rows), rows)[0]`": "it is a tuple of one",
        "1 -> 2 in `total.where(total > 0, 1)`": "what is divided by it is a row of zeros",
        "without detach in `rows.detach()`": (
            "a clone of what is differentiated elsewhere is a fine input, too"
        ),
    },
    "semi_hard_triplet": {
        "arguments swapped in `cosine_similarity_matrix(image_emb, text_emb)`": BOTH,
        "-> (similarity.T, similarity) in ` for way in (similarity, similarity.T)`": BOTH,
        "-> (None, None) in `similarity.diagonal()[:, None]`": DIAGONAL,
        "without relu in `(margin - positive + way).relu()`": AMAX,
    },
}
