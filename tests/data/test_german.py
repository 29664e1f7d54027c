"""German captions: the same claims, other words."""

import itertools

import pytest

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.world.captions import KINDS, Claim, Mention
from mmret_lib.data.world.captions import PLACES as ENGLISH_PLACES
from mmret_lib.data.world.german import NOUNS, PLACES, german, in_german
from mmret_lib.data.world.scenes import RandomPick
from mmret_lib.files.errors import DataError

COUNTS_AND_SIZES = list(itertools.product((1, 2, 3, 4, None), (None, "small", "big")))


def test_every_kind_and_place_has_its_words() -> None:
    assert NOUNS.keys() == KINDS.keys() and PLACES.keys() == ENGLISH_PLACES.keys()
    assert {gender for gender, _, _ in NOUNS.values()} == {"m", "f", "n"}


@pytest.mark.parametrize(
    ("claim", "beginning"),
    [
        (Claim((Mention("elephant", 1, "small"),), "water"), ("ein kleiner", "ein winziger")),
        (Claim((Mention("cat", 1, "big"),), None), ("eine große", "eine riesige")),
        (Claim((Mention("horse", 1, "big"),), None), ("ein großes", "ein riesiges")),
        (Claim((Mention("zebra", 2, "small"),), None), ("zwei kleine", "zwei winzige")),
    ],
)
def test_adjectives_agree_with_their_noun(claim: Claim, beginning: tuple[str, str]) -> None:
    sentences = {in_german(claim, RandomPick(str(n))).lower() for n in range(40)}
    assert all(any(words in sentence for words in beginning) for sentence in sentences)
    assert all(any(words in s for s in sentences) for words in beginning)


def test_the_verb_is_plural_for_several() -> None:
    one = Claim((Mention("bus", 1, None),), None)
    several = Claim((Mention("bus", 1, None), Mention("cat", 1, None)), None)
    for claim, wrong in (
        (one, {"stehen", "parken", "warten", "sind"}),
        (several, {"steht", "ist"}),
    ):
        for number in range(60):
            assert not wrong & set(in_german(claim, RandomPick(str(number))).strip(".").split())


@pytest.mark.slow
def test_no_two_claims_share_a_sentence() -> None:
    said: dict[str, Claim] = {}
    mentions = [Mention(kind, *what) for kind in KINDS for what in COUNTS_AND_SIZES]
    claims = [Claim((mention,), place) for mention in mentions for place in (*PLACES, None)]
    claims += [
        Claim(pair, None)
        for pair in itertools.permutations([m for m in mentions if m.kind in ("cat", "fish")], 2)
        if pair[0].kind != pair[1].kind
    ]
    for claim in claims:
        for number in range(8):
            sentence = in_german(claim, RandomPick(f"{claim}/{number}"))
            assert said.setdefault(sentence, claim) == claim


def test_pairs_keep_everything_but_the_words() -> None:
    english = load_pairs("scenes", split="test", size=20, progress=False)
    translated = german(english)
    assert translated.captions == german(english).captions  # the same in every process
    assert not set(translated.captions) & set(english.captions)
    assert translated.caption_info == english.caption_info
    assert translated.images == english.images and (translated.owner == english.owner).all()


def test_captions_without_claims_are_refused() -> None:
    english = load_pairs("scenes", split="test", size=5, progress=False)
    plain = Pairs(english.images, english.captions, english.owner, english.image_ids, name="photos")
    with pytest.raises(DataError, match="photos: only the built-in world"):
        german(plain)
