"""From a model folder to a bundle: one ONNX file that takes raw images, and proof that it computes what was trained."""
