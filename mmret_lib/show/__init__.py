"""Figures, tables, pages and widgets.

`training`, `retrieval`, `negatives` and `studies` draw figures: of a training, of what a search
found, of how a loss weighs its negatives, of recorded experiments. They share the style of `sheet`.
`tables` formats results; `html` writes a page of answers. `explorer` and `push` are the notebooks'
widgets, and `app` serves them as a web page. `lesson` shows the library's source in a notebook.
Import from these modules: the package itself loads neither matplotlib nor widgets.
"""
