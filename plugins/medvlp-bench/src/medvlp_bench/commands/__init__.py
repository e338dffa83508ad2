"""`medvlp bench`: one file per measurement."""
