"""ARL (Chen et al. 2022): image and report aligned through a knowledge graph, fused with it, and taught by it."""
