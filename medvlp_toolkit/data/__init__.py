"""From raw reports and images to batches: records, images, the packed store, batching, augmentation."""
