"""Batches: what a step reads, drawn from a packed store."""
