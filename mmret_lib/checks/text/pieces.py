"""Cutting a word into pieces, exercise 03's fourth task, and the ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial

from mmret_lib.checks.engine.task import Mistake

UNKNOWN = "[UNK]"
Vocabulary = Container[str]


def word_pieces(word: str, vocabulary: Vocabulary) -> list[str]:
    """Cut greedily: the longest piece that fits, from the front; `["[UNK]"]` if none does."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        piece = longest(word, start, vocabulary)
        if piece is None:
            return [UNKNOWN]
        pieces.append(piece)
        start += len(piece) - 2 * (start > 0)
    return pieces


def longest(word: str, start: int, vocabulary: Vocabulary, sign: str = "##") -> str | None:
    """The longest piece of the vocabulary that the word has at `start`."""
    ends = range(len(word), start, -1)
    options = ((sign if start else "") + word[start:end] for end in ends)
    return next((piece for piece in options if piece in vocabulary), None)


def shortest_first(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        for end in range(start + 1, len(word) + 1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return [UNKNOWN]
    return pieces


def without_sign(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: right look-ups, the sign forgotten in the result."""
    return [piece.removeprefix("##") for piece in word_pieces(word, vocabulary)]


def looked_up_without_sign(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: later pieces are looked up as if they began a word."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        piece = longest(word, start, vocabulary, sign="")
        if piece is None:
            return [UNKNOWN]
        pieces.append(piece)
        start += len(piece)
    return pieces


def looked_up_without_and_signed(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: looked up without the sign, which is put in front afterwards."""
    first, *others = looked_up_without_sign(word, vocabulary)
    return [first, *("##" + piece for piece in others)]


def signed_everywhere(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the first piece has a sign, too."""
    first, *others = word_pieces(word, vocabulary)
    return [first if first == UNKNOWN else "##" + first, *others]


def unknown_at_the_end(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: what was found is kept, and only the rest is unknown."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        piece = longest(word, start, vocabulary)
        if piece is None:
            return [*pieces, UNKNOWN]
        pieces.append(piece)
        start += len(piece) - 2 * (start > 0)
    return pieces


def rest_left_out(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: what cannot be cut is dropped."""
    found = unknown_at_the_end(word, vocabulary)
    return found[:-1] if len(found) > 1 and found[-1] == UNKNOWN else found


def unknown_letters(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: one letter is unknown, and the cutting goes on behind it."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        piece = longest(word, start, vocabulary)
        pieces.append(UNKNOWN if piece is None else piece)
        start += 1 if piece is None else len(piece) - 2 * (start > 0)
    return pieces


def letters_skipped(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: letters that do not fit are passed over."""
    return [piece for piece in unknown_letters(word, vocabulary) if piece != UNKNOWN] or [UNKNOWN]


def cuttings(word: str, vocabulary: Vocabulary, start: int = 0) -> list[list[str]]:
    """Every way to cut the rest of a word, longest pieces first."""
    if start == len(word):
        return [[]]
    found = []
    for end in range(len(word), start, -1):
        piece = ("##" if start else "") + word[start:end]
        if piece in vocabulary:
            found += [[piece, *rest] for rest in cuttings(word, vocabulary, end)]
    return found


def takes_back(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: a piece that leads nowhere is taken back."""
    found = cuttings(word, vocabulary)
    return found[0] if found else [UNKNOWN]


def fewest(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the cut with the fewest pieces."""
    return min(cuttings(word, vocabulary), key=len, default=[UNKNOWN])


def from_the_back(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the longest piece at the end of the word comes first."""
    pieces: list[str] = []
    end = len(word)
    while end > 0:
        for start in range(end):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.insert(0, piece)
                end = start
                break
        else:
            return [UNKNOWN]
    return pieces


def whole_or_unknown(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: no cutting at all."""
    return [word] if word in vocabulary else [UNKNOWN]


def whole_or_letters(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: a word that is not whole in the vocabulary is spelled."""
    if word in vocabulary:
        return [word]
    letters = [("##" if at else "") + letter for at, letter in enumerate(word)]
    return letters if all(letter in vocabulary for letter in letters) else [UNKNOWN]


def first_piece(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the loop ends after its first round."""
    return [longest(word, 0, vocabulary) or UNKNOWN]


def either(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: later pieces may have the sign or not."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            options = ["##" + word[start:end]] * (start > 0) + [word[start:end]]
            found = [piece for piece in options if piece in vocabulary]
            if found:
                pieces.append(found[0])
                start = end
                break
        else:
            return [UNKNOWN]
    return pieces


def nothing(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: no piece at all for an unknown word."""
    found = word_pieces(word, vocabulary)
    return [] if found == [UNKNOWN] else found


def two_pieces(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the rest after the first piece has to fit whole."""
    first = longest(word, 0, vocabulary)
    if first is None or first == word:
        return [first or UNKNOWN]
    rest = "##" + word[len(first) :]
    return [first, rest] if rest in vocabulary else [UNKNOWN]


def sign_counted(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: two letters too many are cut off behind a piece with a sign."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        piece = longest(word, start, vocabulary)
        if piece is None:
            return [UNKNOWN]
        pieces.append(piece)
        start += len(piece)
    return pieces


def never_whole(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the range ends one too early, so the whole rest is never tried."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        for end in range(max(len(word) - 1, start + 1), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return [UNKNOWN]
    return pieces


def no_single_letters(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the range stops before pieces of one letter."""
    found = word_pieces(word, vocabulary)
    return [UNKNOWN] if any(len(piece.removeprefix("##")) == 1 for piece in found) else found


def lowered(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: capital letters are made small."""
    return word_pieces(word.lower(), vocabulary)


def turned(word: str, vocabulary: Vocabulary) -> list[str]:
    """A wrong answer: the pieces are in the wrong order."""
    return word_pieces(word, vocabulary)[::-1]


def cut_off_by(word: str, vocabulary: Vocabulary, rest_of: Callable[[str, str], str]) -> list[str]:
    """A wrong answer for a wrong `rest_of`: what is left of a word behind its first letters."""
    pieces: list[str] = []
    while word:
        sign = "##" if pieces else ""
        fitting = [n for n in range(1, len(word) + 1) if sign + word[:n] in vocabulary]
        if not fitting:
            return [UNKNOWN]
        pieces.append(sign + word[: max(fitting)])
        word = rest_of(word, word[: max(fitting)])
    return pieces


GREEDY = (
    "take the longest piece that fits, from the front, and never come back to it, even if the "
    "rest then cannot be cut"
)
WHOLE = 'if any part of the word cannot be cut, the whole word is ["[UNK]"]'
SIGN = 'a piece that does not begin the word is looked up, and returned, with "##" in front'
WRONG_PIECES = [
    Mistake(f"the shortest piece that fits is taken: {GREEDY}", shortest_first),
    Mistake(f'the "##" is missing in the result: {SIGN}', without_sign),
    Mistake(f'later pieces are looked up without "##": {SIGN}', looked_up_without_sign),
    Mistake(
        f'later pieces are looked up without "##", which is put in front afterwards: {SIGN}',
        looked_up_without_and_signed,
    ),
    Mistake(f'the first piece has a "##", too: {SIGN}', signed_everywhere),
    Mistake(f"the pieces before the unknown part are kept: {WHOLE}", unknown_at_the_end),
    Mistake(f"the part that cannot be cut is dropped: {WHOLE}", rest_left_out),
    Mistake(f"a letter that does not fit becomes [UNK] by itself: {WHOLE}", unknown_letters),
    Mistake(f"letters that do not fit are passed over: {WHOLE}", letters_skipped),
    Mistake(f"a piece that leads nowhere is taken back: {GREEDY}", takes_back),
    Mistake(f"the cut with the fewest pieces is returned: {GREEDY}", fewest),
    Mistake(f"the word is cut from its end: {GREEDY}", from_the_back),
    Mistake(
        "words are only looked up whole: if a word is not in the vocabulary, cut it into pieces",
        whole_or_unknown,
    ),
    Mistake(f"words that are not in the vocabulary are spelled: {GREEDY}", whole_or_letters),
    Mistake(
        "only the first piece is returned: go on with the rest until nothing is left (is there a "
        "return inside the loop?)",
        first_piece,
    ),
    Mistake(
        "the rest after the first piece is looked up whole: it may need several pieces, too",
        two_pieces,
    ),
    Mistake(
        'the two signs "##" are counted as letters of the word: a piece with them has taken two '
        "letters fewer than its length",
        sign_counted,
    ),
    Mistake(
        "the whole rest is never tried as one piece: the longest end is len(word)", never_whole
    ),
    Mistake("pieces of one letter are never tried: they are the last resort", no_single_letters),
    Mistake(
        "capital letters are made small: the tokenizer has done that before, if its vocabulary "
        "wants it; take the word as it is",
        lowered,
    ),
    Mistake(
        "word.replace(piece, '') takes out every occurrence of the piece, later ones, too: go on "
        "with word[end:]",
        partial(cut_off_by, rest_of=lambda rest, piece: rest.replace(piece, "")),
    ),
    Mistake(
        "lstrip(piece) takes off letters, in whatever order, and not the piece: go on with "
        "word[end:]",
        partial(cut_off_by, rest_of=str.lstrip),
    ),
    Mistake("the pieces are in the wrong order: as they stand in the word", turned),
    Mistake(f'later pieces are also taken without "##": {SIGN}', either),
    Mistake(f"an unknown word has no piece at all: {WHOLE}", nothing),
]


def symptom(answers: Sequence[list[str]]) -> str | None:
    """What can be seen in pieces that no function of `WRONG_PIECES` gives."""
    pieces = [piece for answer in answers for piece in answer]
    if not all(isinstance(piece, str) for piece in pieces):
        return "the list holds something else than strings: the pieces themselves are wanted"
    signs = {piece for piece in pieces if piece.strip("[]<>").lower() in ("unk", "unknown")}
    if signs - {UNKNOWN}:
        return f'an unknown word is "[UNK]", and not "{min(signs - {UNKNOWN})}"'
    return None
