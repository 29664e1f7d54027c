"""The texts and the small vocabulary from which the pocket text backbone is distilled."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mmret_lib.encoders.wordpiece import SPECIAL
from mmret_lib.files.errors import DataError

SEED = 2000
WORDS = 8192  # entries of the student's vocabulary
MAX_LENGTH = 64
HELD_OUT = 2000  # captions to measure on


def read_captions(path: Path) -> list[str]:
    """Read texts, one a line, without empty lines and repetitions.

    Raises:
        DataError: not UTF-8, or too few to hold some out and learn from the rest.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8.") from None
    captions = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(captions) < 2 * HELD_OUT:
        raise DataError(
            f"{path} has {len(captions)} different captions, one a line; distillation needs at "
            f"least {2 * HELD_OUT}, because {HELD_OUT} are held out to measure on."
        )
    return captions


def small_vocabulary(
    teacher: Tokenizer, captions: Sequence[str], size: int = WORDS
) -> PreTrainedTokenizerFast:
    """Keep `size` of the teacher's word pieces; the same rules split texts into them.

    Kept are the special tokens, the single ASCII characters (with them any word of plain letters
    has some split), the pieces that stand in the captions at least three times, and the teacher's
    first whole words: BERT's vocabulary lists them by frequency.

    Raises:
        DataError: the teacher's vocabulary is not of word pieces.
    """
    rules = json.loads(teacher.to_str())
    if rules["model"]["type"] != "WordPiece":
        raise DataError(f"The teacher splits by {rules['model']['type']}; it has to be WordPiece.")
    pieces = sorted(rules["model"]["vocab"], key=rules["model"]["vocab"].__getitem__)
    counts: Counter[str] = Counter()
    for encoding in teacher.encode_batch(list(captions), add_special_tokens=False):
        counts.update(encoding.tokens)
    often = [piece for piece, count in counts.items() if count >= 3]
    order = [
        *SPECIAL.values(),
        *(p for p in pieces if p.isascii() and len(p.removeprefix("##")) == 1),
        *sorted(often, key=lambda piece: (-counts[piece], piece)),
        *(p for p in pieces if p.isascii() and p.isalpha() and len(p) > 2),
    ]
    kept = [piece for piece in dict.fromkeys(order) if piece in rules["model"]["vocab"]][:size]
    numbers = {piece: number for number, piece in enumerate(kept)}
    rules["model"]["vocab"] = numbers
    rules["truncation"] = rules["padding"] = None
    for token in rules["added_tokens"]:
        token["id"] = numbers[token["content"]]
    for token in rules["post_processor"]["special_tokens"].values():
        token["ids"] = [numbers[piece] for piece in token["tokens"]]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=MAX_LENGTH,
        **SPECIAL,
    )


def further_texts(captions: Sequence[str], words: Sequence[str], count: int) -> list[str]:
    """Make texts in which words stand that the captions lack, and short ones as people search.

    Args:
        captions: to change and to cut.
        words: whole words, any.
        count: how many texts of the second and of the third kind.

    Returns:
        "a photo of a WORD" for each word; `count` captions with one long word replaced; `count`
        pieces of captions, two to five words long. The teacher says what each means.
    """
    rng = random.Random(SEED)
    texts = [f"a photo of a {word}" for word in words]
    for caption in rng.choices(captions, k=count):
        long_words = list(re.finditer(r"[a-z]{4,}", caption)) or list(re.finditer("^", caption))
        place = rng.choice(long_words)
        texts.append(f"{caption[: place.start()]}{rng.choice(words)}{caption[place.end() :]}")
    for caption in rng.choices(captions, k=count):
        parts = caption.rstrip(" .").split()
        length = min(rng.randint(2, 5), len(parts))
        start = rng.randint(0, len(parts) - length)
        texts.append(" ".join(parts[start : start + length]))
    return texts
