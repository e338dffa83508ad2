"""Report filter for medvlp_toolkit."""
