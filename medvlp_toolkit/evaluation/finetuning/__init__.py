"""Fine-tuned classifiers and segmenters, and the linear probe."""
