"""Measures of the report filters against public annotations; each is a command (``python -m``)."""
