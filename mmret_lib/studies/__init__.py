"""Recorded experiments, and the demo.

`studies` says which trainings answer which question, `measure` runs them and keeps their figures in
data/results, `demo` is what `make demo` runs.
"""
