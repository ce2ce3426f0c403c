"""The image that is sent again and again, and onnxruntime alone on it."""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from statistics import median
from time import perf_counter
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlpipe.cores import usable_cores
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.serve.predictor import ahead
from tlpipe.serve.reading import Row
from tlpipe.serve.runtime.batcher import MOST
from tlpipe.serve.runtime.load import Loaded, stack
from tlpipe.serve.runtime.session import Session


@dataclass(frozen=True)
class Sample:
    """One image of the size at which the graph has nothing to resize."""

    pixels: NDArray[np.uint8]
    """(R, R, 3)."""
    jpeg: bytes


def sample(loaded: Loaded) -> Sample:
    """Smooth colours with some noise, so that the JPEG file is as large as a photograph's."""
    edge = cast(ImagePreprocess, loaded.bundle.preprocessing).resize_to
    generator = np.random.default_rng(0)
    small = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((edge, edge))
    noise = generator.normal(0, 12, (edge, edge, 3))
    picture = Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8))
    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    return Sample(np.asarray(picture), file.getvalue())


@dataclass(frozen=True)
class Calls:
    """A way to call a graph: `lanes` calls at a time, of at most `most` samples."""

    session: Session
    lanes: int
    most: int


def calls_under_load(loaded: Loaded, most: int | None = None) -> Calls:
    """As the server calls this graph when more than a lone client asks, told `--max-batch` or not."""
    if loaded.parallel is None:
        return Calls(loaded.session, 1, most or MOST[loaded.session.device])
    return Calls(loaded.parallel.session, loaded.parallel.lanes, most or loaded.reading.together)


def call_seconds(calls: Calls, pixels: NDArray[np.uint8], batch: int, seconds: float) -> float:
    """Median time of a call on a batch, all lanes being busy with the like."""
    feeds = {calls.session.inputs[0]: np.stack([pixels] * batch)}
    end = perf_counter() + seconds

    def lane(number: int) -> list[float]:
        found: list[float] = []
        while len(found) < 3 or perf_counter() < end:
            begun = perf_counter()
            calls.session.run(feeds)
            found.append(perf_counter() - begun)
        return found

    with ThreadPoolExecutor(calls.lanes) as pool:
        return median(chain(*pool.map(lane, range(calls.lanes))))


def raw_tensors(loaded: Loaded, pixels: NDArray[np.uint8], batch: int, seconds: float) -> float:
    """Images a second of `session.run` on one batch again and again."""
    feeds = {loaded.session.inputs[0]: np.stack([pixels] * batch)}
    begun, done = perf_counter(), 0
    while perf_counter() < begun + seconds:
        loaded.session.run(feeds)
        done += batch
    return done / (perf_counter() - begun)


def raw_files(loaded: Loaded, file: bytes, batch: int, seconds: float) -> float:
    """Images a second when each is decoded first, ahead of the graph, on as many threads as there are processors."""
    begun, done = perf_counter(), 0

    def until() -> Iterable[bytes]:
        while perf_counter() < begun + seconds:
            yield file

    rows = deque[Row]()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for each in ahead(pool, loaded.reading.load, until(), 2 * batch):
            rows.extend(each.rows)
            if len(rows) == batch:
                loaded.session.run(stack(list(rows)))
                done += batch
                rows.clear()
    return done / (perf_counter() - begun)
