"""The formulas of exercise 04, and the ways to get them wrong."""
