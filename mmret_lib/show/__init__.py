"""Figures, tables, pages and widgets.

A figure belongs to the module of its subject: `training` (a run), `retrieval` (the answers of a
search), `negatives` (how a loss weighs them), `atlas` (all losses on one map) or `studies`
(recorded experiments; `comparisons` of them, and their `progress`). All draw with the style of
`sheet`.
`tables` formats results; `html` writes a page of answers. `explorer` and `push` are the notebooks'
widgets, and `stored` the picture that these leave where no kernel runs; `shares` is a figure with
sliders; `app` and `photos` make web pages of them, and `server` serves these. `lesson` shows the
library's source in a notebook; `predict` asks what the reader expects before a cell shows it.
`view` is the part of an output that shows a widget.
Import from these modules: the package itself loads neither matplotlib nor widgets.
"""
