"""Texts of `--help` in whole paragraphs: tyro would keep the line breaks of the source."""

import ast
import inspect
import re
from dataclasses import fields
from typing import Any


def join_lines(command: Any) -> None:
    """Write what a command's docstring says of each argument on one line."""
    command.__doc__ = re.sub(r"\n {8,}(?=\S)", " ", inspect.cleandoc(command.__doc__))


def join_lines_of_fields(kind: type) -> None:
    """Give tyro each field's docstring on one line, as the `help` of its metadata."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            texts[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    for each in fields(kind):
        if each.name in texts:
            each.metadata = {"help": texts[each.name]}  # type: ignore[assignment]
