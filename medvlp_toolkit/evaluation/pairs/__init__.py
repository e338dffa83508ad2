"""Visual question answering, image-text classification and retrieval."""
