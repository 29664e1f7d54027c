"""Write the functions that passed their checks into `my_retrieval.py`.

`lessons` lists the functions of each exercise in the course's order, `place` says where the file
is, `source` finds what a student wrote in the notebook and `needs` what that uses of it, `bindings`
is the list of all that a file defines, `module` reads and lays out the file, `adding` puts a
function into it, and `file` writes it.
`mmret_lib.checks.my_retrieval` is what checks, notebooks and the command line call.
"""
