"""A prediction: shown, chosen or typed, and compared with the answer."""

import pytest

from mmret_lib.show.predict import Prediction, predict
from mmret_lib.show.view import WIDGET


def test_a_choice_beside_the_answer(capsys: pytest.CaptureFixture) -> None:
    guess = Prediction("Does it rise?", ["it rises", "it falls"])
    guess.reveal("it falls")
    assert capsys.readouterr().out == "Your prediction: none. It is: it falls.\n"
    guess.field.value = "it rises"
    guess.reveal("it falls")
    assert capsys.readouterr().out == "Your prediction: it rises. It is: it falls.\n"


@pytest.mark.parametrize(("typed", "told"), [("0,4", "0.4"), (" 12 % ", "12"), ("many", "many")])
def test_a_number_as_people_type_it(typed: str, told: str, capsys: pytest.CaptureFixture) -> None:
    guess = Prediction("How many?")
    assert guess.value is None
    guess.field.value = typed
    guess.reveal(2.8284271)
    assert capsys.readouterr().out == f"Your prediction: {told}. It is: 2.828.\n"


def test_set_by_code_where_no_widget_is_shown() -> None:
    chosen, number = Prediction("Which?", ["a", "b"]), Prediction("How many?")
    chosen.value, number.value = "b", 3
    assert (chosen.value, number.value) == ("b", 3)
    chosen.value = number.value = None
    assert chosen.value is None and number.value is None


def test_a_page_without_a_kernel_shows_the_question() -> None:
    bundle = Prediction("Is B < 2?", ["yes", "no"])._repr_mimebundle_()
    assert bundle["text/plain"] == "Predict. Is B < 2?\n  ○ yes\n  ○ no"
    assert "Is B &lt; 2?" in bundle["text/html"] and "<li>no</li>" in bundle["text/html"]
    assert bundle[WIDGET]["model_id"]


def test_it_shows_itself(capsys: pytest.CaptureFixture) -> None:
    predict("How many?")
    assert "Predict. How many?" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["c", 1.0])
def test_an_answer_that_is_no_choice(answer: object) -> None:
    with pytest.raises(ValueError, match="choices"):
        Prediction("Which?", ["a", "b"]).reveal(answer)
    with pytest.raises(ValueError, match="two or more"):
        Prediction("Which?", ["a"])
