"""Statistics on a table of scores, with their uncertainty."""
