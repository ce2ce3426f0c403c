"""LitServe: images in multipart/form-data, batches, one worker (its default)."""

from typing import Any

import litserve
from fastapi import Request
from graph import BATCH, DELAY, PORT, Graph


class Model(litserve.LitAPI):
    """The graph."""

    def setup(self, device: str) -> None:
        """In the worker."""
        self.graph = Graph()

    def decode_request(self, request: Request) -> bytes:
        """The image of one request."""
        form: Any = request  # LitServe has read it: the annotation says what kind of request to expect
        content: bytes = form["content"].file.read()
        return content

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """As they are."""
        return inputs

    def predict(self, images: list[bytes]) -> Any:
        """One batch."""
        return self.graph(images)

    def unbatch(self, output: Any) -> Any:
        """One answer a row."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        """One answer."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Model(max_batch_size=BATCH, batch_timeout=DELAY), accelerator="cpu", workers_per_device=1, timeout=60
    )
    server.run(port=PORT, host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="error")
