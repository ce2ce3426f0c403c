"""MLServer: the Open Inference Protocol in JSON, images as base64, adaptive batches, one worker (its default)."""

from graph import Graph
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Model(MLModel):
    """The graph."""

    async def load(self) -> bool:
        """In the worker."""
        self.graph = Graph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One batch."""
        found = self.graph(Base64Codec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", found)])
