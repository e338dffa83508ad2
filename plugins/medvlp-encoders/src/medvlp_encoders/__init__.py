"""Image and text encoders for medvlp_toolkit."""
