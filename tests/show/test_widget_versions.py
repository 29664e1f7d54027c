"""Only what ipywidgets 7.7 (Colab) and 8 share is used."""

import ast
import inspect
from types import ModuleType

import ipywidgets
import pytest

from mmret_lib.show import app, explorer, photos, push

# Public traits that ipywidgets 7.7.1 (Colab's) and 8 share, of the widgets used here.
DESCRIBED = {"description", "layout", "style"}
SLIDER = DESCRIBED | {
    "value",
    "min",
    "max",
    "step",
    "disabled",
    "continuous_update",
    "orientation",
    "readout",
    "readout_format",
}
SHARED = {
    "HTML": DESCRIBED | {"value", "placeholder"},
    "Label": DESCRIBED | {"value", "placeholder"},
    "Text": DESCRIBED | {"value", "placeholder", "continuous_update", "disabled"},
    "BoundedIntText": DESCRIBED | {"value", "min", "max", "step", "disabled", "continuous_update"},
    "Button": DESCRIBED | {"button_style", "disabled", "icon", "tooltip"},
    "Dropdown": DESCRIBED | {"options", "value", "label", "index", "disabled"},
    "FileUpload": DESCRIBED | {"accept", "multiple", "button_style", "disabled", "icon", "error"},
    "FloatSlider": SLIDER,
    "FloatLogSlider": SLIDER | {"base"},
    "SelectMultiple": DESCRIBED | {"options", "value", "label", "index", "rows", "disabled"},
    "HBox": {"children", "box_style", "layout"},
    "VBox": {"children", "box_style", "layout"},
    "Layout": {
        "align_content",
        "align_items",
        "align_self",
        "bottom",
        "display",
        "flex",
        "flex_flow",
        "grid_area",
        "grid_gap",
        "grid_template_columns",
        "height",
        "justify_content",
        "justify_items",
        "left",
        "margin",
        "max_height",
        "max_width",
        "min_height",
        "min_width",
        "order",
        "overflow",
        "padding",
        "right",
        "top",
        "visibility",
        "width",
    },
}


def calls(module: ModuleType) -> list[tuple[str, set[str]]]:
    """The widgets that a module makes, and by which traits."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            if name[:1].isupper() and hasattr(ipywidgets, name):
                found.append((name, {word.arg for word in node.keywords if word.arg}))
    return found


@pytest.mark.parametrize("module", [explorer, push, app, photos], ids=lambda one: one.__name__)
def test_only_what_ipywidgets_7_and_8_share_is_used(module):
    found = calls(module)
    assert found
    for name, traits in found:
        assert name in SHARED, f"is {name} in ipywidgets 7.7?"
        assert traits <= SHARED[name], f"{name} has no {traits - SHARED[name]} in both"


def test_the_installed_ipywidgets_has_what_is_shared():
    for name, traits in SHARED.items():
        assert traits <= set(getattr(ipywidgets, name).class_trait_names()), name
