"""What a zero-shot evaluation measures: one measure a file, each with its own arguments and its part of the results."""
