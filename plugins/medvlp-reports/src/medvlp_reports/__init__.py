"""Report filters: what a radiology report says is there, is not there, and where."""
