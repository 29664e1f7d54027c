"""Mark the submissions of an exercise: the sheet, and a page for each student.

    from mmret_lib.grading.run import grade_folder
    grade_folder(Path("submitted"), "04")

`folder` finds who has handed in what, and `notebook` reads it. `workers` starts a process for each
task of each submission, in which `judge` tests one function: `answers` takes it out of the
notebook, `screen` and `guard` keep it from what no answer needs, `tasks` has the check with the
notebook's numbers and with the student's own, `drawn` calls of other sizes. `marks` makes points of
what was found, `sheet` writes them down, and `run` does it all for a folder: it is what
`mmret grade` calls.
"""
