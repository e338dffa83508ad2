"""ARL (Chen et al. 2022): aligning, fusing and learning through a knowledge graph."""
