"""Loaded by MLflow ("models from code"): raw images or tokens in, probabilities out. No pickles."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray


class ImageClassifier(PythonModel):  # type: ignore[misc]
    """A model folder as an MLflow model: uint8 (N, H, W, 3), RGB, any size -> float32 (N, C).

    Of tokens int64 (N, inputs, L) -> (N, C), or (N, L, C) where each of them is tagged.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model folder; torch is imported here and not before."""
        from tlpipe.train.model import load_any

        self._model, self._about = load_any(Path(context.artifacts["model"]))

    # MLflow warns of any hint that it can check nothing by, and knows this one by its identity.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """What the task says (`Task.said`), mostly probabilities, in the order of the labels in the metadata."""
        import torch

        batch = self._about.preprocess.batch(np.asarray(model_input))
        with torch.inference_mode():
            logits = self._model(torch.from_numpy(batch)) / self._about.temperature
            result: NDArray[np.float32] = self._about.task.said(logits).numpy()
        return result


mlflow.models.set_model(ImageClassifier())
