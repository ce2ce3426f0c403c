"""BentoML: a batchable method, images as base64 in JSON, one worker (its default)."""

import base64

import bentoml
from graph import BATCH, Graph


@bentoml.service(traffic={"timeout": 60, "concurrency": 512})
class Model:
    """The graph."""

    def __init__(self) -> None:
        self.graph = Graph()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=30_000)
    def predict(self, images: list[str]) -> list[list[float]]:
        """One batch."""
        found: list[list[float]] = self.graph([base64.b64decode(image) for image in images]).tolist()
        return found
