"""Our server against onnxruntime alone, in turns: `python -m benchmarks.serve.run BUNDLE --seconds 10 --rounds 3`.

Raw is `session.run` on full batches, for JPEG files with the decoding on as many threads as the server has. The load
comes from this process over 127.0.0.1 and shares the processors with the server, as does nothing in the raw figure.
"""

import argparse
import asyncio
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import cast

import numpy as np
from PIL import Image

from benchmarks.serve.load import Outcome, closed, opened, post, tensor
from benchmarks.serve.process import started
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.serve.load import Loaded, load, stack
from tlpipe.serve.machine import cores
from tlpipe.serve.predictor import ahead
from tlpipe.serve.session import Runtime

CLIENTS, BATCH = 32, 32


def picture(edge: int) -> Image.Image:
    """Smooth colours with some noise, so that the JPEG file is as large as a photograph's."""
    generator = np.random.default_rng(0)
    small = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((edge, edge))
    noise = generator.normal(0, 12, (edge, edge, 3))
    return Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8))


def raw_tensors(loaded: Loaded, seconds: float) -> float:
    """Images a second of `session.run` on one batch again and again."""
    feeds = stack([loaded.reading.example().rows[0]] * BATCH)
    begun, done = perf_counter(), 0
    while perf_counter() < begun + seconds:
        loaded.session.run(feeds)
        done += BATCH
    return done / (perf_counter() - begun)


def raw_files(loaded: Loaded, file: bytes, seconds: float) -> float:
    """Images a second when each is decoded first, ahead of the graph."""
    begun, done = perf_counter(), 0

    def until() -> Iterable[bytes]:
        while perf_counter() < begun + seconds:
            yield file

    batch = deque[dict[str, np.ndarray]]()
    with ThreadPoolExecutor(cores()) as pool:
        for sample in ahead(pool, loaded.reading.load, until(), 2 * BATCH):
            batch.extend(sample.rows)
            if len(batch) == BATCH:
                loaded.session.run(stack(list(batch)))
                done += BATCH
                batch.clear()
    return done / (perf_counter() - begun)


def say(name: str, outcome: Outcome) -> None:
    """One line of figures."""
    times = ", ".join(f"p{share} {1000 * outcome.percentile(share):.1f} ms" for share in (50, 99))
    print(f"  {name}: {outcome.rate:.1f} images/s, {times}, failures {dict(outcome.failures)}", flush=True)


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    seconds = arguments.seconds
    loaded = load(arguments.bundle, Runtime(device="cpu"))
    edge = cast(ImagePreprocess, loaded.bundle.preprocessing).resize_to
    file = BytesIO()
    picture(edge).save(file, "JPEG", quality=90)
    jpeg = file.getvalue()
    requests = {
        "tensors": tensor(np.asarray(picture(edge))),
        "JPEG": post("/predict", jpeg, {"content-type": "image/jpeg"}),
    }
    ratios: dict[str, list[float]] = {name: [] for name in requests}
    with started(arguments.bundle, "--device", "cpu", "--no-requests-log") as port:
        for turn in range(arguments.rounds):
            print(f"round {turn + 1}")
            for name, request in requests.items():
                raw = raw_tensors(loaded, seconds) if name == "tensors" else raw_files(loaded, jpeg, seconds)
                outcome = asyncio.run(closed(port, request, CLIENTS, seconds))
                ratios[name].append(outcome.rate / raw)
                say(f"{name}, closed loop, {CLIENTS} clients ({outcome.rate / raw:.3f} of raw {raw:.1f})", outcome)
                say(f"{name}, open loop at 70 %", asyncio.run(opened(port, request, 0.7 * outcome.rate, seconds, turn)))
    for name, found in ratios.items():
        spread = f"{min(found):.3f} to {max(found):.3f} in {len(found)} rounds"
        print(f"{name}: {median(found):.3f} of raw onnxruntime, {spread}")


if __name__ == "__main__":
    main()
