"""A bundle, verified and running."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlpipe.bundle import ABOUT, MODEL, Bundle, BundleError, read_bundle
from tlpipe.serve.aside import Aside, aside
from tlpipe.serve.reading import MAX_PIXELS, Reading, Row
from tlpipe.serve.readings import reading
from tlpipe.serve.session import Runtime, Session, Tensors


@dataclass(frozen=True)
class Loaded:
    """A verified bundle and its session."""

    bundle: Bundle
    session: Session
    reading: Reading
    version: str
    """The bundle's."""
    aside: Aside | None = None
    """Where calls run side by side; None where one call at a time is what the device does."""


def load(folder: Path, runtime: Runtime, max_pixels: int = MAX_PIXELS) -> Loaded:
    """The bundle in `folder`, its hashes verified, its session warm.

    Raises:
        BundleError: When a file is missing or changed, or the graph is not the one that `bundle.json` describes.
        DeviceError: When the device that was asked for cannot be used.
    """
    bundle = read_bundle(folder)
    model = (folder / MODEL).read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    # The very bytes that run are the ones that were checked, even when somebody replaces the file just now.
    if digest != bundle.sha256.get(MODEL):
        raise BundleError(f"{folder / MODEL} changed while it was read, or {ABOUT} does not name it; load it again")
    session = Session(model, runtime)
    expected = {port.name for port in bundle.inputs}, {port.name for port in bundle.outputs}
    if (set(session.inputs), set(session.outputs)) != expected:
        raise BundleError(f"{folder / MODEL} has other inputs or outputs than {ABOUT} says; export the bundle again")
    read = reading(bundle, folder, max_pixels)
    example = read.example().rows[0]
    session.capture(example)
    session.run(stack([example]))
    return Loaded(bundle, session, read, bundle.version, aside(model, runtime, session, stack([example])))


def stack(rows: Sequence[Row]) -> Tensors:
    """Rows of equal shape as one batch."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def unstack(outputs: Tensors, count: int) -> list[Row]:
    """A batch's outputs as one mapping a row."""
    return [{name: value[at] for name, value in outputs.items()} for at in range(count)]
