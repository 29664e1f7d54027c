"""Exercise 00 in steps, each with the ways to get it wrong: `best`, `recall`, `loops`, `heads`."""
