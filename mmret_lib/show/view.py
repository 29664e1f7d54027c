"""The part of a cell's output that shows a widget."""

import ipywidgets as widgets

WIDGET = "application/vnd.jupyter.widget-view+json"


def widget_view(box: widgets.Widget) -> dict[str, object]:
    """Return what a notebook needs to show a widget, by its kind of output.

    It stands beside what a page without a kernel shows. ipywidgets 7 has no public method for it.
    """
    return {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": box.model_id}}
