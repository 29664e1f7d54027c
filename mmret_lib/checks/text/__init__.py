"""The formulas of exercise 03 in steps, each with the ways to get it wrong."""
