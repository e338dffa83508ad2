"""The graph of entities that a corpus speaks of: chosen, embedded and kept in one file."""
