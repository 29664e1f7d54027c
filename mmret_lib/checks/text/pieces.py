"""Cutting a word into pieces, exercise 03's fourth task, in steps and with mistakes."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

UNKNOWN = "[UNK]"
Vocabulary = Container[str]


def word_pieces(
    word: str,
    vocabulary: Vocabulary,
    *,
    read: Formula = lambda word: word,
    ends: Formula = lambda word, start: range(len(word), start, -1),
    signs: Formula = lambda start: ["##" if start else ""],
    behind: Formula = lambda word, start, end, piece: end,
    stuck: Formula = lambda word, start, pieces: ([UNKNOWN], len(word)),
    result: Formula = lambda pieces: pieces,
) -> list[str]:
    """Cut greedily: the longest piece that fits, from the front; `["[UNK]"]` if none does.

    In the steps a piece reaches from `start` to `end`; `ends` and `signs` are tried in order. The
    next piece starts `behind` it; `stuck` says what is kept where no piece fits, and goes on.
    """
    word, pieces, start = read(word), [], 0
    while start < len(word):
        for end, sign in ((end, sign) for end in ends(word, start) for sign in signs(start)):
            piece = sign + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = behind(word, start, end, piece)
                break
        else:
            pieces, start = stuck(word, start, pieces)
    cut: list[str] = result(pieces)
    return cut


def signed(pieces: list[str]) -> list[str]:
    """The sign in front of every piece."""
    return [piece if piece == UNKNOWN else "##" + piece for piece in pieces]


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
    *mistakes(
        {"ends": GREEDY, "signs": SIGN, "stuck": WHOLE, "result": SIGN},
        ends={
            "the shortest piece that fits is taken": (
                lambda word, start: range(start + 1, len(word) + 1)
            ),
            "words are only looked up whole: if a word is not in the vocabulary, cut it into "
            "pieces": lambda word, start: [len(word)],
            "words that are not in the vocabulary are spelled": (
                lambda word, start: [start + 1] if start else [len(word), 1]
            ),
            "the rest after the first piece is looked up whole: it may need several pieces, too": (
                lambda word, start: [len(word)] if start else range(len(word), 0, -1)
            ),
            "the whole rest is never tried as one piece: the longest end is len(word)": (
                lambda word, start: range(max(len(word) - 1, start + 1), start, -1)
            ),
            "pieces of one letter are never tried: they are the last resort": (
                lambda word, start: range(len(word), start + 1, -1)
            ),
        },
        signs={
            'later pieces are looked up without "##"': lambda start: [""],
            'later pieces are also taken without "##"': (
                lambda start: ["##", ""] if start else [""]
            ),
        },
        result={
            'the "##" is missing in the result': (
                lambda pieces: [piece.removeprefix("##") for piece in pieces]
            ),
            'the first piece has a "##", too': lambda pieces: signed(pieces[:1]) + pieces[1:],
            "the pieces are in the wrong order: as they stand in the word": (
                lambda pieces: pieces[::-1]
            ),
        },
        stuck={
            "the pieces before the unknown part are kept": (
                lambda word, start, pieces: ([*pieces, UNKNOWN], len(word))
            ),
            "the part that cannot be cut is dropped": (
                lambda word, start, pieces: (pieces or [UNKNOWN], len(word))
            ),
            "a letter that does not fit becomes [UNK] by itself": (
                lambda word, start, pieces: ([*pieces, UNKNOWN], start + 1)
            ),
            "an unknown word has no piece at all": lambda word, start, pieces: ([], len(word)),
        },
        behind={
            "only the first piece is returned: go on with the rest until nothing is left (is there "
            "a return inside the loop?)": lambda word, start, end, piece: len(word),
            'the two signs "##" are counted as letters of the word: a piece with them has taken '
            "two letters fewer than its length": (
                lambda word, start, end, piece: start + len(piece)
            ),
        },
        read={
            "capital letters are made small: the tokenizer has done that before, if its vocabulary "
            "wants it; take the word as it is": str.lower,
        },
        several={
            f'later pieces are looked up without "##", which is put in front afterwards: {SIGN}': {
                "signs": lambda start: [""],
                "result": lambda pieces: pieces[:1] + signed(pieces[1:]),
            },
            f"letters that do not fit are passed over: {WHOLE}": {
                "stuck": lambda word, start, pieces: (pieces, start + 1),
                "result": lambda pieces: pieces or [UNKNOWN],
            },
        },
    ),
    Mistake(f"a piece that leads nowhere is taken back: {GREEDY}", takes_back),
    Mistake(f"the cut with the fewest pieces is returned: {GREEDY}", fewest),
    Mistake(f"the word is cut from its end: {GREEDY}", from_the_back),
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
