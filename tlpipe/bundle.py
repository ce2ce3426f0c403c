"""What travels from training to serving: the ONNX file, what it takes and gives, and the proof. No torch here."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from tlpipe.config import ConfigError, Spec, parse
from tlpipe.preprocess import AnyPreprocess

MODEL, ABOUT = "model.onnx", "bundle.json"


class BundleError(ConfigError):
    """A bundle is missing, incomplete or not what was written."""


class Port(Spec):
    """One input or output of the graph."""

    name: str
    dtype: str
    """numpy's name of the element type."""
    shape: tuple[int | str, ...]
    """Sizes; a name stands for one that is free."""
    layout: str
    """One letter an axis: N batch, H height, W width, L length in tokens, C channels (RGB) or classes."""


class Figure(Spec):
    """A metric, with its 95 % interval where there is one; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Case(Spec):
    """One comparison of onnxruntime with torch on the same samples."""

    name: str
    """`raw`: samples as they were found; `packed`: at the size where nothing is resized; `awkward`: odd ones."""
    batch: int
    """At most so many samples a call."""
    samples: int
    finite: bool
    """Whether every output is a number."""
    probabilities: float | None
    """Largest difference of a probability; None when outputs are not finite, as for the rest."""
    logits: float | None
    """Largest difference of a logit, relative to the largest logit (at least 1)."""
    tolerance: float
    """What `probabilities` may be."""
    logits_tolerance: float | None
    """What `logits` may be; None where only probabilities are held to a tolerance."""
    same: float | None
    """Share of samples whose first label is the same."""
    ties: float | None
    """Share of samples whose first label differs, but which torch puts within the tolerance of its own first."""
    agreement: float
    """What `same` + `ties` must at least be."""

    def problems(self) -> tuple[str, ...]:
        """What keeps this case from passing, a sentence each; nothing when it passes."""
        where = f"{self.name} samples, {self.batch} a call"
        if self.probabilities is None or self.logits is None or self.same is None or self.ties is None:
            return (f"{where}: outputs are not finite",)
        found = []
        if self.probabilities > self.tolerance:
            found.append(f"{where}: probabilities differ by {self.probabilities:.3g}, allowed {self.tolerance:g}")
        if self.logits_tolerance is not None and self.logits > self.logits_tolerance:
            found.append(f"{where}: logits differ by {self.logits:.3g} relative, allowed {self.logits_tolerance:g}")
        if self.same + self.ties < self.agreement:
            agreed = f"{self.same + self.ties:.2%}"
            found.append(f"{where}: the first label agrees on {agreed}, required {self.agreement:.2%}")
        return tuple(found)


class Bundle(Spec):
    """What `bundle.json` says of the files beside it."""

    task: str
    labels: tuple[str, ...]
    """Class names in output order."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    preprocessing: AnyPreprocess
    """What the graph does before the network; nobody has to do it again."""
    temperature: float
    """What the graph divides the network's logits by."""
    fitted: dict[str, float] = Field(default_factory=dict)
    """What else was fitted on the validation split and is needed to read the outputs."""
    strategy: str
    """The strategy that trained the model."""
    metrics: dict[str, dict[str, Figure]]
    """By split (`validation`, `test`), then by metric."""
    parity: tuple[Case, ...]
    """How close onnxruntime came to torch, case by case."""
    versions: dict[str, str]
    """What made the bundle: tlpipe, torch, onnx, onnxruntime, and the opset."""
    sha256: dict[str, str]
    """Of every other file in the folder."""

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits over all that it says and names: graph, labels, tokenizer, thresholds, figures."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def digest(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write `bundle.json`; the other files of the folder must be there already, as `bundle.sha256` says."""
    verify(folder, bundle)
    unused = None if bundle.fitted else {"fitted"}
    (folder / ABOUT).write_text(bundle.model_dump_json(indent=2, exclude=unused) + "\n", encoding="utf-8")


def read_bundle(folder: Path) -> Bundle:
    """The verified description of a bundle.

    Raises:
        BundleError: When a file is missing, is not a bundle's, or has changed since it was written.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise BundleError(f"{path} does not exist: {folder} is not a bundle; make one with `dvc repro export`")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}); export the bundle again") from None
    bundle: Bundle = parse(data, Bundle, str(path))
    verify(folder, bundle)
    return bundle


def verify(folder: Path, bundle: Bundle) -> None:
    """Raises BundleError unless every file that `bundle` names is in `folder` and has the sha256 it had."""
    for name, expected in bundle.sha256.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing: the bundle is incomplete; copy the whole folder or export it again")
        found = digest(path)
        if found != expected:
            raise BundleError(
                f"{path} is not the file that was exported: its sha256 is {found}, {ABOUT} says {expected}; "
                "copy the whole folder again, or export it again"
            )


def figures(metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> dict[str, dict[str, Figure]]:
    """The evaluation's `metrics.json` and `intervals.json` (by split, then metric) as one table."""
    return {
        split: {name: _figure(value, intervals.get(split, {}).get(name, {})) for name, value in values.items()}
        for split, values in metrics.items()
    }


def _figure(value: float | None, interval: Mapping[str, float | None]) -> Figure:
    return Figure(value=value, low=interval.get("low"), high=interval.get("high"))
