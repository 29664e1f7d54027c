"""What every check shares: a task, the probing of an answer, and the words for what is wrong."""
