"""`medvlp filter` and `medvlp label`."""
