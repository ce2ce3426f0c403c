"""What every peer serves: the bundle's graph in onnxruntime, with the same options that tlpipe gives it.

Each peer runs in an environment of its own, without tlpipe; its settings come in environment variables.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

PORT = int(os.environ["BENCH_PORT"])
BATCH = int(os.environ["BENCH_BATCH"])
DELAY = float(os.environ["BENCH_DELAY"])
"""Seconds."""
THREADS = int(os.environ["BENCH_THREADS"])
EDGE = int(os.environ["BENCH_EDGE"])
JPEG = b"\xff\xd8"


class Graph:
    """Answers images, each the bytes of a JPEG file or EDGE x EDGE raw RGB pixels."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = os.environ["BENCH_MODEL"]
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._pool = ThreadPoolExecutor(THREADS)

    def __call__(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """(N, classes)."""
        found: NDArray[np.float32]
        (found,) = self._session.run(["probabilities"], {"image": np.stack(list(self._pool.map(pixels, images)))})
        return found


def pixels(raw: bytes) -> NDArray[np.uint8]:
    """(EDGE, EDGE, 3)."""
    if raw[:2] == JPEG:
        return np.asarray(Image.open(BytesIO(raw)).convert("RGB"))
    return np.frombuffer(raw, np.uint8).reshape(EDGE, EDGE, 3)
