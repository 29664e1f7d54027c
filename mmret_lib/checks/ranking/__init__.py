"""Exercise 08 in steps, each with the ways to get it wrong.

`counting` counts what stands above and beside the right answers, `recalls` makes a recall and a
median of the counts, `bootstrap` an interval, and `judged` a recall with several right answers.
`intervals` says what a right interval keeps to, and `cases` makes what the tasks are tried on.
"""
