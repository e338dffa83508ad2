"""A user's own images and texts, for inference."""
