"""The packed store: how it is laid out, read and shown."""

from medvlp_toolkit.moved import old_names

__getattr__ = old_names(__name__)
