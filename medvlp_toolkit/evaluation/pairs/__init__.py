"""Questions about images, image-text classification and retrieval."""
