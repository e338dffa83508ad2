"""The toolkit's version; a plugin's requirement on ``medvlp-toolkit`` says which contracts it was made for."""

__version__ = "0.1.0"
