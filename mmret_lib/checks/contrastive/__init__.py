"""The formulas of exercise 05, and the ways to get them wrong.

`sums` is the log-sum-exp, `losses` has the two losses and the mistakes that both can have,
`sum_terms` those in what each loss sums, `closed_form` their derivatives, and `properties` what a
comparison of numbers cannot tell.
"""
