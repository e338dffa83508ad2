"""Report filters for medvlp_toolkit."""
