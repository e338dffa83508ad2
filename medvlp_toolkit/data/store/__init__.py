"""The packed store: layout, reading and summaries."""

from medvlp_toolkit.moved import old_names

__getattr__ = old_names(__name__)
