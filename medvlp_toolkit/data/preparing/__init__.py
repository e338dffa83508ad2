"""`medvlp prepare`: from a data source to a packed store."""
