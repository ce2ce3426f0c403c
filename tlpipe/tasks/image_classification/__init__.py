"""Single-label image classification."""
