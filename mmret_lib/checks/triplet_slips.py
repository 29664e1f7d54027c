"""What to tell a student of exercise 04, slip by slip: words beside `triplet_formulas`' options.

The likelier slip stands first, for the first that explains the numbers is the one that is told.
"""

from __future__ import annotations

from mmret_lib.checks.engine.task import Slip


def slips(**by_option: dict[str, str]) -> list[Slip]:
    """slips(option={value: words}): one Slip per value."""
    return [
        Slip(words, {option: value})
        for option, values in by_option.items()
        for value, words in values.items()
    ]


EPSILON = "the epsilon added to the length is too large: it changes the cosines of short rows"

COSINES = slips(
    norm={
        "none": "the rows are not normalised: divide each by its length before the product",
        "columns": "normalised over the wrong axis: every row (dim=1) should get length 1, not "
        "every column (dim=0)",
        "images only": "only the image rows are normalised, the texts keep their lengths",
        "texts only": "only the text rows are normalised, the images keep their lengths",
        "squared": "divided by the squared length: a square root is missing",
        "root": "divided by the square root of the length: one root too many",
        "sums": "divided by the sum of the absolute values; the length is the root of the sum of "
        "the squares",
        "whole": "divided by one norm of the whole matrix: each row needs its own (dim=1, "
        "keepdim=True)",
        "largest": "divided by each row's largest entry, which is not its length",
        "standardised": "standardised (minus mean, by standard deviation): a cosine only divides "
        "by the length",
        "softmax": "softmax is not a normalisation to length 1",
        "unguarded": "a row of zeros is divided by its length 0 and becomes NaN: such a row should "
        "have similarity 0 to everything",
        **{f"1e-{power}": EPSILON for power in range(1, 7)},
    },
    form={
        "transposed": "the result is transposed: rows are images, columns are texts",
        "images twice": "images are compared with images: the second factor should be the texts",
        "texts twice": "texts are compared with texts: the first factor should be the images",
        "distance": "1 - cosine is a distance: here larger means more alike",
        "euclidean": "a Euclidean distance, not a cosine: take the dot product of the rows",
        "absolute": "the absolute value hides which way a cosine points: -1 is not 1",
        "clamped": "negative cosines are cut off: they go from -1 to 1",
        "shifted": "(1 + cosine) / 2 is squeezed into 0 to 1: leave the cosine as it is",
        "centred": "the batch mean is subtracted first, which makes it a correlation",
        "softmax": "a softmax over the texts has no place in a similarity",
    },
)

COSINE_GRADIENTS = slips(
    detach={
        "norms": "the lengths are detached: a row's length depends on the row, and the gradient "
        "should know",
        "images": "the images are detached",
        "texts": "the texts are detached",
    }
)

# In the losses a wrong similarity is one slip among many, and task 1 says the rest about it.
SIMILARITY = [
    Slip(f"in the similarities, {slip.says} (task 1)", slip.options)
    for slip in COSINES
    if slip.says != EPSILON
    and slip.options.get("norm") != "unguarded"
    and slip.options.get("form") != "transposed"
]

HINGES = slips(
    diagonal={
        "kept": "the diagonal is not left out: every positive counts as its own negative and "
        "costs the margin",
        "zeroed early": "the diagonal is zeroed before the margin is added, so it still costs "
        "something: set the hinges on the diagonal to 0 afterwards",
        "kept for images": "the diagonal is left out where the texts ask, and not where the images "
        "ask: each direction has a diagonal of its own",
        "kept for texts": "the diagonal is left out where the images ask, and not where the texts "
        "ask: each direction has a diagonal of its own",
        "upper": "only the upper triangle is counted: the negatives below the diagonal are missing",
        "only": "only the diagonal is counted: it holds the positives; the negatives are the rest",
        "neighbour": "only one negative per query is counted, its neighbour: there are B - 1",
    },
    directions={
        "images": "one direction only: the texts as queries (columns of the matrix) are missing",
        "texts": "one direction only: the images as queries (rows of the matrix) are missing",
        "halved": "the mean of the two directions, so half of it: they should be added",
        "images twice": "the direction image -> texts is counted twice; the other should take the "
        "columns of the matrix, similarity.T",
        "texts twice": "the direction texts -> images is counted twice: where the images ask, a "
        "row's positive is diagonal()[:, None] and not diagonal()",
        "same column": "the column direction reuses the row direction's hinges: in a column, too, "
        "the positive to compare with is the query's own, the one on that column's diagonal",
        "larger": "of the two directions the larger is taken: they should be added",
        "smaller": "of the two directions the smaller is taken: they should be added",
        "difference": "the second direction is subtracted: they should be added",
    },
    average={
        "none": "summed over the batch: divide by the number of pairs B, or the loss grows with "
        "the batch",
        "squared": "divided by B * B (a mean over the whole matrix): divide by the B pairs only",
        "negatives": "the mean over the negatives: each query's hinges should be taken as they "
        "are, and only the B pairs averaged",
        "less one": "divided by B - 1: the mean goes over the B pairs",
        "active": "divided by the number of hinges above 0: divide by the B pairs, active or not",
        "width": "divided by D, the length of an embedding: divide by B, the number of pairs",
    },
    gap={
        "margin's sign": "the margin has the wrong sign: it belongs to the negative's side, "
        "margin - positive + negative",
        "no margin": "the margin is missing: a negative costs something already when it comes "
        "within the margin of the positive",
        "margin twice": "the margin is added twice",
        "margin 0.2": "the margin is fixed at 0.2: take the argument",
        "margin 1": "the margin is fixed at 1: take the argument",
        "swapped": "positive and negative are swapped (or distances stand where similarities "
        "should): the hinge is margin - positive + negative",
        "both added": "the positive is added: the hinge is margin - positive + negative",
        "both taken": "the negative is subtracted: the hinge is margin - positive + negative",
        "no positive": "the positive is missing: the hinge is margin - positive + negative",
        "scaled": "the margin multiplies: it should be added",
        "doubled": "the difference of positive and negative counts twice, as with squared "
        "distances: take the cosines themselves",
        "distances": "Euclidean distances stand where cosines should",
        "ratio": "positive and negative are multiplied: the hinge is margin - positive + negative",
    },
    hinge={
        "abs": "the absolute value stands where the hinge should: below 0 it should be 0",
        "squared": "the hinge is squared",
        "softplus": "softplus is a smooth hinge: here it should be max(0, ...)",
        "from above": "clamped from above: clamp(min=0) keeps what is above 0",
        "at margin": "the margin is added outside the hinge, or the hinge clamped at it: it "
        "belongs inside, and the hinge rests at 0",
        "below one": "clamped from above at 1: a hinge has no upper limit",
        "step": "violations are counted: what matters is by how much the margin is missed",
    },
    kept={
        "easier": "only negatives below the positive are counted (semi-hard): those above it "
        "matter most",
        "harder": "only negatives above the positive are counted: those within the margin below "
        "it cost something too",
        "positive similarity": "negatives with a similarity below 0 are left out: the diagonal "
        "alone should be",
    },
    positive={
        "next": "the positive comes from the wrong row: query b's is s[b, b]",
    },
)

# Some mistakes make a difference to the sum alone: the maximum of a row with a 0 on its diagonal is
# clamped as it is, and -1 is never the highest.
SUM = slips(
    hinge={
        "none": "the clamp is missing: negatives beyond the margin should cost 0, not less",
        "leaky": "a leaky hinge goes below 0: it should rest at 0",
    },
    diagonal={
        "minus one": "the diagonal is set to -1 before the margin is added: where the positive is "
        "very dissimilar it still costs something. Set the hinges on the diagonal to 0 afterwards",
    },
    combine={
        "max": "the max stands where the sum should: every negative within the margin counts",
        "min": "the min stands where the sum should",
        "mean": "the mean over a query's negatives stands where the sum should",
        "two hardest": "only the two hardest negatives are counted: all within the margin are",
        "norm": "a root of summed squares stands where the plain sum should",
        "log-sum-exp": "a log-sum-exp stands where the sum should",
    },
)

SUM.append(
    Slip(
        "the hinge is taken of a query's whole sum: each negative has a hinge of its own, and they "
        "are added afterwards",
        {"hinge": "none", "combine": "clamped sum"},
    )
)

# What no number can tell apart for the maximum, though for the sum it is two mistakes.
MAX_FIRST = slips(
    diagonal={
        "kept": "the diagonal is not left out, so every positive costs the margin as a negative of "
        "its own (or the margin is added outside the hinge)",
    },
)

MAX = slips(
    positive={
        "column": "the positive is broadcast along the wrong axis: a row's hinges all need the "
        "row's own positive, diagonal()[:, None]",
    },
    combine={
        "sum": "the sum stands where the max should: only the hardest negative counts",
        "column max": "the max goes over the wrong axis: over the negatives of one query, which "
        "are a row where the positive was subtracted row by row",
        "whole max": "the max is taken over the whole matrix: each query has its own hardest",
        "one max": "the max is taken over the whole matrix: each query has its own hardest",
        "min": "the easiest negative is taken (min): the hardest is the one most similar",
        "mean": "the mean over the negatives stands where the max should",
        "two hardest": "the two hardest negatives are counted: only one is",
        "log-sum-exp": "a log-sum-exp (a smooth maximum) stands where the max should",
        "first": "always the first negative is taken: the hardest is wanted",
        "place": "argmax gives the place of the hardest and not what it costs: x.amax(dim=1), or "
        "x.max(dim=1).values",
    },
    hinge={
        "unclamped": "the clamp is missing: where even the hardest negative is beyond the margin, "
        "the query costs 0, not less",
    },
)

DUPLICATES = slips(
    ids={
        "ignored": "the ids are ignored: pairs that share one are not negatives of each other",
        "images only": "image_ids alone are used: a shared caption, caption_ids, excludes a "
        "negative too",
        "captions only": "caption_ids alone are used: a shared image, image_ids, excludes a "
        "negative too",
        "both needed": "only pairs that share both ids are left out: one shared id is enough "
        "(or, not and)",
        "exactly one": "pairs that share both ids count again (that is exclusive or): one or both "
        "shared exclude a negative",
        "across": "image ids are compared with caption ids: compare each kind with itself",
        "inverted": "the mask is inverted: the duplicates are kept and the negatives left out",
        "neighbours": "only neighbouring duplicates are masked: any two pairs of a batch can "
        "share an id",
        "later": "duplicates are masked above the diagonal only: the mask is symmetric",
        "earlier": "duplicates are masked below the diagonal only: the mask is symmetric",
        "everything": "everything is masked: image_ids == image_ids compares each id with itself; "
        "image_ids[:, None] == image_ids compares each with each",
        "added": "the two ids are added up before they are compared: that finds equal sums, not "
        "a shared image or a shared caption",
        "columns dropped": "a pair that has a duplicate is left out for every query: it should be "
        "left out for its duplicates only",
        "asked by nobody": "a pair that has a duplicate does not ask: every pair still asks, and "
        "only its duplicates are no negatives of it",
        "taken out": "duplicates are taken out of the batch: every pair stays in it and asks, and "
        "only its duplicates are no negatives of it",
        "one way": "the ids are used in one direction only: mask the texts' negatives too",
    },
    average={
        "answerable": "divided by the queries that have a negative: a query without any costs 0, "
        "but still is one of the B pairs",
    },
    masked={
        "zero": "a duplicate's similarity is set to 0, which is a similarity like any "
        "other and still costs something: its hinge should be 0",
        "minus one": "a duplicate's similarity is set to -1: where the positive is very dissimilar "
        "it still costs something. Set its hinge to 0 instead",
    },
)

LOSS_GRADIENTS = slips(
    detach={
        "positives": "the positives are detached: the loss should also pull each pair together",
        "negatives": "the negatives are detached: the loss should also push them away",
        "norms": "the lengths are detached: normalise outside torch.no_grad and without .detach()",
        "images": "the images are detached",
        "texts": "the texts are detached",
        "image direction": "the direction image -> texts is detached",
        "text direction": "the direction text -> images is detached",
    }
)

TURNED = (
    "[1] is [0] transposed: the texts' own push is wanted, the gradient of direction(similarity.T)"
)

WEIGHTS = slips(
    second={
        "both": "the second direction equals the first: there the texts ask, so give the function "
        "similarity.T",
        "transposed": "[1] is transposed: its rows are the texts that ask, its columns the images",
        "turned": "[1] is transposed: its rows are the texts that ask, its columns the images",
        "images transposed": TURNED,
        "images turned": TURNED,
        "total": "the gradients of both directions are added: [0] and [1] are one direction each",
        "swapped": "the directions are swapped: [0] is where the images ask",
    },
    scale={
        "none": "the rows are not divided by their sums: a row of shares adds up to 1",
        "by pairs": "multiplied by B instead of divided by the row's sum",
        "columns": "divided by the sums over the wrong axis: a row (one query) adds up to 1",
        "matrix": "divided by the sum of the whole matrix: each row adds up to 1",
        "everything": "divided by the sum over both directions: each row adds up to 1",
        "both": "divided by the row's sum over both directions: each row of each adds up to 1",
        "largest": "divided by the row's largest weight: its sum is wanted",
        "lengths": "divided by the row's length: its sum is wanted",
        "mean": "divided by the row's mean: its sum is wanted",
        "unguarded": "a query that pushes nothing has the sum 0, and 0 / 0 is NaN: leave its row "
        "at zeros",
        "uniform": "a query that pushes nothing gets an even row: leave it at zeros",
    },
    diagonal={
        "kept": "the diagonal is not left out: it holds the positive's pull, not a negative's push",
        "after": "the diagonal is set to 0 only after the division: the row's sum still had the "
        "positive in it",
        "magnitude": "absolute values, the diagonal among them: it holds the positive's pull and "
        "is to be left out",
    },
    of={
        "softmax of gradient": "a softmax of the gradient: divide the gradient by its row's sum",
        "times similarity": "the gradient is multiplied by the similarities: the gradient alone is "
        "the push",
        "count": "every negative that is pushed at all gets the same: the size of the gradient "
        "is its weight",
        "squares": "the gradient is squared",
    },
)
