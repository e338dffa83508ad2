"""The knowledge graph of the entities in a corpus: selection, embedding and storage in one file."""
