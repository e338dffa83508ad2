"""The toolkit's version; a plugin's requirement on ``medvlp-toolkit`` states which contracts it was written for."""

__version__ = "0.1.0"
