"""Export of image classification: raw images to class probabilities."""

from tlpipe.export.onnx import image_graph
from tlpipe.export.parity import compare as compare_images
from tlpipe.tasks.shared import image_export

graph = image_graph
compare = compare_images
inputs = image_export.inputs
limits = image_export.limits
held_out = image_export.held_out
golden_samples = image_export.golden_samples
