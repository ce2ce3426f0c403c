"""A bundle, verified and running."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlpipe.bundle import ABOUT, MODEL, Bundle, BundleError, read_bundle
from tlpipe.golden import GOLDEN, read_golden
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.serve.reading import Reading, Row
from tlpipe.serve.readings import reading
from tlpipe.serve.runtime.parallel_session import ParallelSession, open_parallel_session
from tlpipe.serve.runtime.session import Runtime, Session, Tensors
from tlpipe.serve.runtime.tensorrt_profiles import Calls, profile
from tlpipe.serve.runtime.verification import agree, prove, try_out


@dataclass(frozen=True)
class Loaded:
    """A verified bundle and its session."""

    bundle: Bundle
    session: Session
    reading: Reading
    version: str
    """The bundle's."""
    parallel: ParallelSession | None = None
    """Where calls run side by side; None where one call at a time is what the device does."""
    proved: int = 0
    """Golden samples for which this device gave what torch gave; 0 for a bundle that has none."""

    def fit(self, feeds: Tensors) -> Tensors:
        """What the session takes of checked tensors; slow where that is not just these.

        Images of other sizes than TensorRT's engine was built for are resized here, as those of `/predict` are.
        """
        preprocess, engine = self.bundle.preprocessing, self.session.profile
        if engine is None or not isinstance(preprocess, ImagePreprocess) or engine.takes(feeds):
            return feeds
        return {name: np.stack([preprocess.pack(image) for image in images]) for name, images in feeds.items()}


def load(folder: Path, runtime: Runtime, max_pixels: int | None = None, calls: Calls | None = None) -> Loaded:
    """The bundle in `folder`, its hashes verified, its session warm, for calls of as many rows as `calls` says.

    Raises:
        BundleError: When a file is missing or changed, the graph is not the one that `bundle.json` describes, or
            answers for the bundle's golden samples are wrong on this device.
        DeviceError: When the device that was asked for cannot be used.
    """
    bundle = read_bundle(folder)
    model = (folder / MODEL).read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    # The very bytes that run are the ones that were checked, even when somebody replaces the file just now.
    if digest != bundle.sha256.get(MODEL):
        raise BundleError(f"{folder / MODEL} changed while it was read, or {ABOUT} does not name it; load it again")
    device = runtime.resolve()
    session = Session(model, runtime, profile(bundle, calls or Calls()) if device == "tensorrt" else None)
    agree(bundle, session)
    read = reading(bundle, folder, max_pixels)
    example = read.example().rows[0]
    session.capture(example)
    try_out(bundle, read, session)
    beside = open_parallel_session(model, runtime, session, stack([example]))
    runs = {session.provider: session.run} | ({"one thread a call": beside.session.run} if beside else {})
    resizes = session.profile is None
    golden = read_golden(folder) if GOLDEN in bundle.sha256 else None
    if golden is not None:
        prove(golden, reading(bundle, folder), runs, session.device, resizes)
    return Loaded(bundle, session, read, bundle.version, beside, len(golden.samples) if golden else 0)


def stack(rows: Sequence[Row]) -> Tensors:
    """Rows of equal shape as one batch."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def unstack(outputs: Tensors, count: int) -> list[Row]:
    """A batch's outputs as one mapping a row."""
    return [{name: value[at] for name, value in outputs.items()} for at in range(count)]
