"""What a pre-trained image encoder is fine-tuned into: a classifier of labels, a segmenter of masks."""
