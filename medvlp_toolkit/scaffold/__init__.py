"""Writes a plugin package that installs and satisfies its contract, as a starting point."""
