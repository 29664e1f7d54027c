"""What is right in exercise 10, and the ways to get it wrong.

`signs` has the test by random signs, `choices` the choice on validation, `ratios` the interval of a
ratio, and `random_calls` what both functions that draw have in common.
"""
