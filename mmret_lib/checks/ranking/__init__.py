"""Exercise 08 in steps, each with the ways to get it wrong.

`counting` counts what stands above and beside the right answers, `recalls` makes a recall and a
median of the counts, `bootstrap` an interval, and `judged` a recall with several right answers.
`intervals` says what a right interval keeps to, and `batches` has the values that it is asked for;
`cases` makes what the other tasks are tried on.
"""
