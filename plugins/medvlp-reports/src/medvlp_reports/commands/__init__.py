"""The commands that read reports, as far as they are the package's own."""
