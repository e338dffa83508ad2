"""`medvlp bench`: one file a measurement."""
