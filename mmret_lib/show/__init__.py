"""What people look at: figures, tables, pages and widgets.

`training`, `retrieval` and `negatives` draw figures in the style of `sheet`; `tables` prints
results; `html` writes a page of answers; `explorer` and `push` are widgets, and `app` puts them on
a page of their own; `lesson` shows the library's source in a notebook.
"""
