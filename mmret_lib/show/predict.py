"""Ask for a prediction before a cell shows the answer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets as widgets
from IPython.display import display

from mmret_lib.show.view import widget_view


class Prediction:
    """What a reader expects, chosen or typed below the question.

    Attributes:
        question: what is asked.
        choices: the answers to choose from; empty if a number is asked for.
    """

    def __init__(self, question: str, choices: Sequence[str] = ()) -> None:
        """Make the question's field; `predict` also shows it."""
        if len(set(choices)) != len(choices) or len(choices) == 1:
            raise ValueError(f"{list(choices)}: give two or more different choices, or none")
        self.question, self.choices = question, list(choices)
        self.field: widgets.RadioButtons | widgets.Text
        if choices:
            wide = widgets.Layout(width="max-content", max_width="100%")
            self.field = widgets.RadioButtons(options=self.choices, value=None, layout=wide)
        else:
            self.field = widgets.Text(
                placeholder="your number", layout=widgets.Layout(width="10rem")
            )
        title = widgets.HTML(f"<b>Predict.</b> {escape(question)}")
        self.box = widgets.VBox([title, self.field])

    def __repr__(self) -> str:
        return f"Predict. {self.question}" + "".join(f"\n  ○ {each}" for each in self.choices)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """The widget, and for a page without a kernel the question with its choices."""
        ways = "".join(f"<li>{escape(choice)}</li>" for choice in self.choices)
        listed = f"<ul>{ways}</ul>" if ways else ""
        return {
            "text/plain": repr(self),
            "text/html": f"<p><b>Predict.</b> {escape(self.question)}</p>{listed}",
            **widget_view(self.box),
        }

    @property
    def value(self) -> str | float | None:
        """The choice or the number; None while there is none."""
        if self.choices or not self.field.value.strip():
            chosen: str | None = self.field.value or None
            return chosen
        typed = self.field.value.strip().rstrip("%").replace(",", ".")
        try:
            return float(typed)
        except ValueError:
            return str(self.field.value)

    @value.setter
    def value(self, value: str | float | None) -> None:
        """Set it by code, where no widget is shown: ``guess.value = "falls"``."""
        self.field.value = value if self.choices else "" if value is None else str(value)

    def reveal(self, answer: str | float) -> None:
        """Print the prediction beside the answer.

        Args:
            answer: what was measured: one of the choices, or a number.

        Raises:
            ValueError: the answer is none of the choices, or not a number where one is asked for.
        """
        if isinstance(answer, str) and answer not in self.choices:
            raise ValueError(f"the answer {answer!r} is none of the choices {self.choices}")
        if self.choices and not isinstance(answer, str):
            raise ValueError(f"the answer {answer!r} should be one of the choices {self.choices}")
        told = "none" if self.value is None else _written(self.value)
        print(f"Your prediction: {told}. It is: {_written(answer)}.")


def predict(question: str, choices: Sequence[str] = ()) -> Prediction:
    """Show a question that the reader answers before the next cell does.

    Args:
        question: one sentence.
        choices: the answers to choose from, as radio buttons; without any, a field for a number.

    Returns:
        The prediction; its `reveal(answer)`, in the cell that shows, prints both.

    Example:
        >>> guess = predict("Does the loss rise or fall?", ["it rises", "it falls"])
        >>> guess.reveal("it falls")
        Your prediction: none. It is: it falls.
    """
    prediction = Prediction(question, choices)
    display(prediction)  # type: ignore[no-untyped-call] # IPython
    return prediction


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
