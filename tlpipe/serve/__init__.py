"""Serving a bundle with onnxruntime: nothing here loads torch, transformers or mlflow."""

from tlpipe.serve.predictor import Predictor
from tlpipe.serve.reading import BadInput
from tlpipe.serve.runtime.session import DeviceError

__all__ = ["BadInput", "DeviceError", "Predictor"]
