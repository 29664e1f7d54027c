"""Write the built-in world's captions in German, from the claims of the English ones.

A claim (see `mmret_lib.data.world.captions`) holds facts and no words, so a second language needs a
table of words and a short grammar; the owners of the captions and the best possible recall stay the
same. Every noun stands in the nominative ("Hier sind zwei kleine Zebras"), so that an adjective has
one ending for each gender.
"""

from dataclasses import replace

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.world.captions import KINDS, Claim, Mention, Pick
from mmret_lib.data.world.scenes import RandomPick
from mmret_lib.files.errors import DataError

# kind: (gender, singular, plural)
NOUNS: dict[str, tuple[str, str, str]] = {
    "elephant": ("m", "Elefant", "Elefanten"),
    "zebra": ("n", "Zebra", "Zebras"),
    "horse": ("n", "Pferd", "Pferde"),
    "giraffe": ("f", "Giraffe", "Giraffen"),
    "cow": ("f", "Kuh", "Kühe"),
    "sheep": ("n", "Schaf", "Schafe"),
    "camel": ("n", "Kamel", "Kamele"),
    "bear": ("m", "Bär", "Bären"),
    "hamster": ("m", "Hamster", "Hamster"),
    "flamingo": ("m", "Flamingo", "Flamingos"),
    "fish": ("m", "Fisch", "Fische"),
    "pig": ("n", "Schwein", "Schweine"),
    "cat": ("f", "Katze", "Katzen"),
    "dog": ("m", "Hund", "Hunde"),
    "rabbit": ("n", "Kaninchen", "Kaninchen"),
    "tiger": ("m", "Tiger", "Tiger"),
    "lion": ("m", "Löwe", "Löwen"),
    "monkey": ("m", "Affe", "Affen"),
    "duck": ("f", "Ente", "Enten"),
    "penguin": ("m", "Pinguin", "Pinguine"),
    "owl": ("f", "Eule", "Eulen"),
    "turtle": ("f", "Schildkröte", "Schildkröten"),
    "crocodile": ("n", "Krokodil", "Krokodile"),
    "frog": ("m", "Frosch", "Frösche"),
    "crab": ("f", "Krabbe", "Krabben"),
    "octopus": ("m", "Krake", "Kraken"),
    "dolphin": ("m", "Delfin", "Delfine"),
    "butterfly": ("m", "Schmetterling", "Schmetterlinge"),
    "snail": ("f", "Schnecke", "Schnecken"),
    "fox": ("m", "Fuchs", "Füchse"),
    "bus": ("m", "Bus", "Busse"),
    "car": ("n", "Auto", "Autos"),
    "taxi": ("n", "Taxi", "Taxis"),
    "bicycle": ("n", "Fahrrad", "Fahrräder"),
    "motorcycle": ("n", "Motorrad", "Motorräder"),
    "train": ("m", "Zug", "Züge"),
    "sailboat": ("n", "Segelboot", "Segelboote"),
    "tractor": ("m", "Traktor", "Traktoren"),
    "ramen": ("f", "Nudelsuppe", "Nudelsuppen"),
    "pizza": ("n", "Stück Pizza", "Stücke Pizza"),
    "hamburger": ("m", "Hamburger", "Hamburger"),
    "doughnut": ("m", "Donut", "Donuts"),
    "cake": ("f", "Torte", "Torten"),
    "apple": ("m", "Apfel", "Äpfel"),
    "banana": ("f", "Banane", "Bananen"),
    "carrot": ("f", "Möhre", "Möhren"),
    "watermelon": ("n", "Stück Wassermelone", "Stücke Wassermelone"),
    "umbrella": ("m", "Regenschirm", "Regenschirme"),
    "boot": ("m", "Stiefel", "Stiefel"),
    "football": ("m", "Fußball", "Fußbälle"),
    "guitar": ("f", "Gitarre", "Gitarren"),
    "balloon": ("m", "Luftballon", "Luftballons"),
    "chair": ("m", "Stuhl", "Stühle"),
    "clock": ("m", "Wecker", "Wecker"),
    "book": ("n", "Buch", "Bücher"),
    "hat": ("m", "Hut", "Hüte"),
    "cactus": ("m", "Kaktus", "Kakteen"),
    "sunflower": ("f", "Sonnenblume", "Sonnenblumen"),
    "kite": ("m", "Drachen", "Drachen"),
    "teddy bear": ("m", "Teddybär", "Teddybären"),
}

PLACES: dict[str, tuple[str, ...]] = {
    "grass": ("auf der Wiese", "im Gras", "auf einem grünen Feld"),
    "water": ("im Wasser", "in einem See", "in flachem Wasser"),
    "beach": ("am Strand", "auf dem Sand", "am Meer"),
    "snow": ("im Schnee", "auf verschneitem Boden"),
    "street": ("auf der Straße", "in der Stadt"),
    "night": ("in der Nacht", "im Dunkeln", "unter den Sternen"),
    "desert": ("in der Wüste", "auf trockenem Boden", "auf staubigem Boden"),
    "table": ("auf dem Tisch", "auf einem Holztisch"),
}

_SIZES = {"small": ("klein", "winzig"), "big": ("groß", "riesig")}
_COUNTS = {
    2: ("zwei",),
    3: ("drei",),
    4: ("vier",),
    None: ("einige", "mehrere", "ein paar"),
}
_ARTICLE = {"m": "ein", "f": "eine", "n": "ein"}
_ENDING = {"m": "er", "f": "e", "n": "es"}  # after ein, eine, ein; in the plural always -e
_VERBS = {
    "animal": (("spielt", "spielen"), ("steht", "stehen"), ("sitzt", "sitzen"), ("ruht", "ruhen")),
    "grazer": (("spielt", "spielen"), ("steht", "stehen"), ("ruht", "ruhen"), ("grast", "grasen")),
    "vehicle": (("parkt", "parken"), ("steht", "stehen"), ("wartet", "warten")),
    "food": (("liegt", "liegen"), ("steht", "stehen")),
    "thing": (("liegt", "liegen"), ("steht", "stehen")),
}


def in_german(claim: Claim, pick: Pick) -> str:
    """Write a German sentence that says exactly `claim`; no two claims share a sentence."""
    where = " " + pick(PLACES[claim.place]) if claim.place else ""
    phrases = [_noun_phrase(mention, pick) for mention in claim.mentions]
    listed = " und ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
    several = len(claim.mentions) > 1 or claim.mentions[0].count != 1
    style = pick(("verb", "bare", "here", "seen"), (4, 3, 2, 1))
    if style == "verb":
        verb = pick(_VERBS[KINDS[claim.mentions[0].kind].group])[several]
        sentence = f"{listed} {verb}{where}"
    elif style == "bare":
        sentence = f"{listed}{where}"
    else:
        opening = "hier" if style == "here" else "zu sehen"
        sentence = f"{opening} {'sind' if several else 'ist'} {listed}{where}"
    return sentence[0].upper() + sentence[1:] + "."


def _noun_phrase(mention: Mention, pick: Pick) -> str:
    gender, singular, plural = NOUNS[mention.kind]
    single = mention.count == 1
    words = [_ARTICLE[gender] if single else pick(_COUNTS[mention.count])]
    if mention.size:
        words.append(pick(_SIZES[mention.size]) + (_ENDING[gender] if single else "e"))
    return " ".join([*words, singular if single else plural])


def german(pairs: Pairs) -> Pairs:
    """Replace each English caption by a German one that claims the same.

    Args:
        pairs: of the built-in world; caption j becomes a sentence with the claim of caption j.

    Raises:
        DataError: pairs that do not come from the built-in world, whose captions have no claims.
    """
    if pairs.caption_info is None:
        raise DataError(f"{pairs.name or 'pairs'}: only the built-in world's captions have claims")
    captions = [
        in_german(Claim.from_dict(info["claim"]), RandomPick(f"german/{pairs.split}/{number}"))
        for number, info in enumerate(pairs.caption_info)
    ]
    return replace(pairs, captions=captions)
