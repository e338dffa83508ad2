"""Contrastive pre-training: losses that pair images with their reports, and zero-shot scores by prompts."""
