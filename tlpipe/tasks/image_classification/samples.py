"""Samples of single-label image classification: images, with one class each."""

from tlpipe.data.read_images import ImageReader
from tlpipe.data.targets import row_labels

Reader = ImageReader
targets = row_labels
