"""Batches: the input of a step, drawn from a packed store."""
