"""The results folder of an evaluation, and its printed tables."""

from medvlp_toolkit.moved import old_names

__getattr__ = old_names(__name__)
