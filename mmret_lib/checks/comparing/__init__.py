"""What is right in exercise 10, and the ways to get it wrong.

`signs` has the test by random signs, and `patterns` the p that it is compared with. `choices` has
the choice on validation, `ratios` the interval of a ratio, and `random_calls` what both functions
that draw have in common.
"""
