"""Writes a plugin package that installs and keeps its contract, for somebody to change into their own."""
