"""What students hand in for exercise 04: right answers of many kinds, and wrong ones.

Written as a student would write them, and not from the checks' own formulas. Each wrong answer
stands beside a piece of the message that should refuse it.
"""
