"""Answers to exercise 03's last task: cutting a word into pieces."""


def in_two_loops(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start:
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                break
            end -= 1
        if end == start:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def with_the_rest(word, vocabulary):
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(1, len(word) + 1) if sign + word[:n] in vocabulary]
        if not fitting:
            return ["[UNK]"]
        n = max(fitting)
        pieces.append(sign + word[:n])
        word, sign = word[n:], "##"
    return pieces


def by_recursion(word, vocabulary, sign=""):
    if not word:
        return []
    for end in reversed(range(1, len(word) + 1)):
        if sign + word[:end] in vocabulary:
            rest = by_recursion(word[end:], vocabulary, "##")
            return rest if rest == ["[UNK]"] else [sign + word[:end], *rest]
    return ["[UNK]"]


def sorted_vocabulary(word, vocabulary):
    by_length = sorted(vocabulary, key=len, reverse=True)
    pieces, rest = [], word
    while rest:
        sign = "##" if pieces else ""
        for piece in by_length:
            if piece.startswith("##") == bool(sign) and rest.startswith(piece[len(sign) :]):
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        rest = rest[len(piece) - len(sign) :]
    return pieces


RIGHT_PIECES = [in_two_loops, with_the_rest, by_recursion, sorted_vocabulary]


def shortest(word, vocabulary):
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(1, len(word) + 1) if sign + word[:n] in vocabulary]
        if not fitting:
            return ["[UNK]"]
        n = min(fitting)
        pieces.append(sign + word[:n])
        word, sign = word[n:], "##"
    return pieces


def keeps_what_it_has(word, vocabulary):
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(1, len(word) + 1) if sign + word[:n] in vocabulary]
        if not fitting:
            return [*pieces, "[UNK]"]
        pieces.append(sign + word[: max(fitting)])
        word, sign = word[max(fitting) :], "##"
    return pieces


def stops_quietly(word, vocabulary):
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(1, len(word) + 1) if sign + word[:n] in vocabulary]
        if not fitting:
            break
        pieces.append(sign + word[: max(fitting)])
        word, sign = word[max(fitting) :], "##"
    return pieces or ["[UNK]"]


def goes_on_behind(word, vocabulary):
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(1, len(word) + 1) if sign + word[:n] in vocabulary]
        n = max(fitting, default=1)
        pieces.append(sign + word[:n] if fitting else "[UNK]")
        word, sign = word[n:], "##"
    return pieces


def unsigned_lookups(word, vocabulary):
    pieces = []
    while word:
        fitting = [n for n in range(1, len(word) + 1) if word[:n] in vocabulary]
        if not fitting:
            return ["[UNK]"]
        pieces.append(word[: max(fitting)])
        word = word[max(fitting) :]
    return pieces


def either_lookup(word, vocabulary):
    """Takes a later piece with the sign or without it."""
    pieces, first = [], True
    while word:
        for n in range(len(word), 0, -1):
            options = [word[:n]] if first else ["##" + word[:n], word[:n]]
            found = [piece for piece in options if piece in vocabulary]
            if found:
                break
        else:
            return ["[UNK]"]
        pieces.append(found[0])
        word, first = word[n:], False
    return pieces


def any_split(word, vocabulary, sign=""):
    if not word:
        return []
    for end in range(len(word), 0, -1):
        if sign + word[:end] in vocabulary:
            rest = any_split(word[end:], vocabulary, "##")
            if rest != ["[UNK]"]:
                return [sign + word[:end], *rest]
    return ["[UNK]"]


def fewest(word, vocabulary):
    best = {0: []}
    for end in range(1, len(word) + 1):
        for start in range(end):
            piece = ("##" if start else "") + word[start:end]
            if start in best and piece in vocabulary:
                longer = [*best[start], piece]
                if end not in best or len(longer) < len(best[end]):
                    best[end] = longer
    return best.get(len(word), ["[UNK]"])


def backwards(word, vocabulary):
    pieces = []
    while word:
        for start in range(len(word)):
            piece = ("##" if start else "") + word[start:]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces = [piece, *pieces]
        word = word[:start]
    return pieces


def one_letter_short(word, vocabulary):
    """range(len(word), 1, -1): never a single letter."""
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(2, len(word) + 1) if sign + word[:n] in vocabulary]
        if not fitting:
            return ["[UNK]"]
        pieces.append(sign + word[: max(fitting)])
        word, sign = word[max(fitting) :], "##"
    return pieces


def never_the_whole(word, vocabulary):
    pieces, sign = [], ""
    while word:
        fitting = [n for n in range(1, len(word)) if sign + word[:n] in vocabulary]
        if len(word) == 1 and sign + word in vocabulary:
            fitting = [1]
        if not fitting:
            return ["[UNK]"]
        pieces.append(sign + word[: max(fitting)])
        word, sign = word[max(fitting) :], "##"
    return pieces


def forgets_the_signs_length(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start += len(piece)
                break
        else:
            return ["[UNK]"]
    return pieces


def returns_in_the_loop(word, vocabulary):
    for end in range(len(word), 0, -1):
        if word[:end] in vocabulary:
            return [word[:end]]
    return ["[UNK]"]


def rest_whole(word, vocabulary):
    for end in range(len(word), 0, -1):
        if word[:end] in vocabulary:
            if end == len(word):
                return [word]
            rest = "##" + word[end:]
            return [word[:end], rest] if rest in vocabulary else ["[UNK]"]
    return ["[UNK]"]


def spells(word, vocabulary):
    if word in vocabulary:
        return [word]
    letters = [word[0], *("##" + letter for letter in word[1:])]
    return letters if all(letter in vocabulary for letter in letters) else ["[UNK]"]


def learns_words(word, vocabulary):
    found = in_two_loops(word, vocabulary)
    if found == ["[UNK]"] and isinstance(vocabulary, dict):
        vocabulary[word] = len(vocabulary)
    return found


def needs_a_dict(word, vocabulary):
    return in_two_loops(word, {piece: vocabulary[piece] for piece in vocabulary})


def cut_by(rest_of, limit=99):
    def function(word, vocabulary):
        pieces = []
        while word:
            for end in range(min(len(word), limit), 0, -1):
                piece = ("##" if pieces else "") + word[:end]
                if piece in vocabulary:
                    pieces.append(piece)
                    word = rest_of(word, word[:end])
                    break
            else:
                return ["[UNK]"]
        return pieces

    return function


def ends_by_the_vocabulary(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(vocabulary), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


WRONG_PIECES = {
    "endless": ("not ended", cut_by(lambda word, piece: word)),
    "replace": ("every occurrence", cut_by(lambda word, piece: word.replace(piece, ""))),
    "lstrip": ("takes off letters", cut_by(lambda word, piece: word.lstrip(piece))),
    "four letters at most": (
        "any length",
        cut_by(lambda word, piece: word.removeprefix(piece), limit=4),
    ),
    "as many ends as pieces": ("smaller than the word", ends_by_the_vocabulary),
    "shortest": ("shortest", shortest),
    "signs removed": (
        "missing in the result",
        lambda w, v: [piece.replace("##", "") for piece in in_two_loops(w, v)],
    ),
    "unsigned look-ups": ('looked up without "##"', unsigned_lookups),
    "signed afterwards": (
        "put in front afterwards",
        lambda w, v: [("##" if n else "") + p for n, p in enumerate(unsigned_lookups(w, v))],
    ),
    "either": ("also taken without", either_lookup),
    "signs everywhere": (
        "first piece has",
        lambda w, v: [p if p[0] in "#[" else "##" + p for p in in_two_loops(w, v)],
    ),
    "keeps": ("before the unknown part", keeps_what_it_has),
    "stops": ("dropped", stops_quietly),
    "goes on": ("by itself", goes_on_behind),
    "takes back": ("taken back", any_split),
    "fewest": ("longest piece", fewest),
    "backwards": ("from its end", backwards),
    "whole only": ("only looked up whole", lambda w, v: [w] if w in v else ["[UNK]"]),
    "spells": ("spelled", spells),
    "first piece": ("only the first", returns_in_the_loop),
    "two pieces": ("looked up whole", rest_whole),
    "signs counted": ("counted as letters", forgets_the_signs_length),
    "never whole": ("never tried as one piece", never_the_whole),
    "no letters": ("one letter", one_letter_short),
    "lower case": ("capital", lambda w, v: in_two_loops(w.lower(), v)),
    "order": ("order", lambda w, v: in_two_loops(w, v)[::-1]),
    "a string": ("a list should be", lambda w, v: " ".join(in_two_loops(w, v))),
    "unknown as a string": ("a list should be", lambda w, v: w if w in v else "[UNK]"),
    "empty list": ("no piece at all", lambda w, v: [p for p in in_two_loops(w, v) if p != "[UNK]"]),
    "none": ("return", lambda w, v: None),
    "numbers": ("strings", lambda w, v: [len(p) for p in in_two_loops(w, v)]),
    "unk in small letters": ('"[UNK]"', lambda w, v: [p.lower() for p in in_two_loops(w, v)]),
    "changes the vocabulary": ("in place", learns_words),
    "needs a dict": ("in vocabulary", needs_a_dict),
    "strips accents": (
        "accents",
        lambda w, v: in_two_loops(w.encode("ascii", "ignore").decode(), v),
    ),
}
