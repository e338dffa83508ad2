"""Data sources for medvlp_toolkit."""
