"""The reading of a bundle: its task's requests and answers, by the preprocessing that the bundle has."""

from collections.abc import Mapping
from pathlib import Path

from tlpipe.bundle import Bundle, BundleError
from tlpipe.config import ConfigError
from tlpipe.serve.reading import Reading
from tlpipe.tasks import facet, kinds


def reading(bundle: Bundle, folder: Path, max_pixels: int | None = None) -> Reading:
    """How the task of the bundle in `folder` is read and answered. Raises ConfigError for one that cannot be served."""
    if bundle.task not in kinds():
        raise ConfigError(f"the bundle's task is {bundle.task!r}; what can be served: {', '.join(kinds())}")
    known: Mapping[str, type[Reading]] = facet(bundle.task, "serving:READINGS")
    kind, ports = bundle.preprocessing.kind, tuple(port.name for port in bundle.inputs)
    taken = getattr(bundle.preprocessing, "inputs", ports[:1])
    if kind not in known or ports != taken:
        raise BundleError(
            f"the bundle's task is {bundle.task!r}, which reads {' or '.join(map(repr, known))} into "
            f"{', '.join(taken)}; its preprocessing is {kind!r} and its inputs are {', '.join(ports)}: export it again"
        )
    needed = known[kind].needs
    if needed is not None and needed not in bundle.sha256:
        raise BundleError(f"the bundle does not name {needed} among its files, so it reads no text: export it again")
    return known[kind](bundle, folder, max_pixels)
