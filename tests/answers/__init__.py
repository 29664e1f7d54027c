"""What students hand in: right answers of many kinds, and wrong ones.

Written as a student would write them, and not from the checks' own formulas. A module named like a
module of the checks has for each of its tasks, by the function's name: in CHECKS the check, in
RIGHT a list of right answers, in WRONG the wrong ones by a short name, each beside a piece of the
message that should refuse it.
"""
