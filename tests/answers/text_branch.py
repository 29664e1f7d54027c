"""Right and wrong answers to exercise 03, as students write them."""

from answers.text_branch_attention import RIGHT_ATTENTION, WRONG_ATTENTION
from answers.text_branch_distillation import RIGHT_DISTILLATION, WRONG_DISTILLATION
from answers.text_branch_means import RIGHT_MEANS, WRONG_MEANS
from answers.text_branch_pieces import RIGHT_PIECES, WRONG_PIECES
from mmret_lib.checks import text_branch

CHECKS = {
    "attention": text_branch.check_attention,
    "masked_mean": text_branch.check_masked_mean,
    "distillation_loss": text_branch.check_distillation_loss,
    "word_pieces": text_branch.check_word_pieces,
}
RIGHT = {
    "attention": RIGHT_ATTENTION,
    "masked_mean": RIGHT_MEANS,
    "distillation_loss": RIGHT_DISTILLATION,
    "word_pieces": RIGHT_PIECES,
}
EQUIVALENT = {
    "attention": {
        "q -> k in `q.ndim`": "queries and keys have equally many sizes",
        "q -> k in `q.shape`": "a query is as long as a key",
    },
    "distillation_loss": {
        f"without dim= in `F.log_softmax({logits} / temperature, dim=1)`": (
            "of two sizes torch takes the last one, with a warning"
        )
        for logits in ("teacher_logits.detach()", "student_logits")
    },
}
WRONG = {
    "attention": WRONG_ATTENTION,
    "masked_mean": WRONG_MEANS,
    "distillation_loss": WRONG_DISTILLATION,
    "word_pieces": WRONG_PIECES,
}
