"""tlpipe: declarative transfer learning, from labelled samples to a verified ONNX bundle."""

__version__ = "0.1.0"
