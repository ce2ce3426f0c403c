"""What travels from training to serving: the ONNX file, what it takes and gives, and the proof. No torch here."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tlpipe.config import ConfigError, Spec, parse
from tlpipe.preprocess import AnyPreprocess
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.limits import SampleLimits

MODEL, ABOUT = "model.onnx", "bundle.json"
DIGEST = "digest"
"""Of `bundle.json`: the sha256 of all that it says besides."""
FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
"""Of a bundle's files: none is elsewhere than in its folder."""


class BundleError(ConfigError):
    """A bundle is missing, incomplete or not what was written."""


class Port(Spec):
    """One input or output of the graph."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./:-]*$", max_length=200)]
    dtype: Literal[
        "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32",
        "float64",
    ]  # fmt: skip
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
    levels: float | None = None
    """Largest difference of a pixel that the network sees, in grey levels; None where no image is resized."""
    levels_tolerance: float | None = None
    """What `levels` may be."""

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
        if self.levels is not None and self.levels_tolerance is not None and not self.levels <= self.levels_tolerance:
            found.append(
                f"{where}: resized pixels differ by {self.levels:.3g} grey levels, allowed {self.levels_tolerance:g}"
            )
        if self.same + self.ties < self.agreement:
            agreed = f"{self.same + self.ties:.2%}"
            found.append(f"{where}: the first label agrees on {agreed}, required {self.agreement:.2%}")
        return tuple(found)


class Bundle(Spec):
    """What `bundle.json` says of the files beside it."""

    task: str
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    """Class names in output order."""
    inputs: Annotated[tuple[Port, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Port, ...], Field(min_length=1)]
    preprocessing: AnyPreprocess
    """What the graph does before the network; nobody has to do it again."""
    limits: SampleLimits = SampleLimits()
    """What a sample may be, as in training: servers and clients refuse what was not trained on."""
    temperature: Annotated[float, Field(gt=0)]
    """What the graph divides the network's logits by."""
    fitted: dict[str, float] = Field(default_factory=dict)
    """What else was fitted on the validation split and is needed to read the outputs."""
    strategy: str
    """The strategy that trained the model."""
    metrics: dict[str, dict[str, Figure]]
    """By split (`validation`, `test`), then by metric."""
    parity: tuple[Case, ...]
    """How close onnxruntime came to torch, case by case."""
    open_gate: tuple[str, ...] = ()
    """Where the gate that it passed was set to let more pass than a sound export needs, a sentence each."""
    versions: dict[str, str]
    """What made the bundle: tlpipe, torch, onnx, onnxruntime, and the opset."""
    sha256: dict[Annotated[str, Field(pattern=FILE_NAME)], str]
    """Of every other file in the folder."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Bundle":
        for name, values in (("labels", self.labels), ("inputs", [port.name for port in self.inputs])):
            if twice := sorted(value for value, count in Counter(values).items() if count > 1):
                raise ValueError(f"{name} has {twice[0][:80]!r} twice; an output has a name of its own")
        for port in self.outputs:
            classes = port.shape[-1] if port.shape and port.layout.endswith("C") else len(self.labels)
            if classes != len(self.labels):
                raise ValueError(
                    f"there are {len(self.labels)} labels, and the output {port.name!r} has {classes} values a sample"
                )
        for port in (*self.inputs, *self.outputs):
            if len(port.layout) != len(port.shape):
                raise ValueError(f"{port.name!r} has {len(port.shape)} axes, and its layout names {port.layout!r}")
        if isinstance(self.preprocessing, ImagePreprocess) and self.inputs[0].layout != "NHWC":
            raise ValueError(f"images are taken as NHWC, and the layout of {self.inputs[0].name!r} is another")
        if MODEL not in self.sha256:
            raise ValueError(f"sha256 does not name {MODEL}, so nobody could tell whether it is the one")
        return self

    def of_itself(self) -> dict[str, str]:
        """What the graph's own metadata say too, as they say it."""
        labels = json.dumps(self.labels, ensure_ascii=False)
        read = metadata(self.temperature, self.preprocessing, self.limits, self.fitted)
        return {"labels": labels, "task": self.task, **read}

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits over all that it says and names: graph, labels, tokenizer, thresholds, figures."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def metadata(
    temperature: float, preprocessing: Any, limits: SampleLimits, fitted: Mapping[str, float]
) -> dict[str, str]:
    """What the graph's file says of itself besides labels and task: clients may have it alone, contradictions show.

    `limits` is what `tlpipe.preprocess.decode.decode` takes besides the bytes, `fitted` is `Bundle.fitted`.
    """
    readable = {"max_pixels": limits.max_pixels, "edge": getattr(preprocessing, "edge", None)}
    return {
        "temperature": repr(temperature),
        "preprocessing": preprocessing.model_dump_json(),
        "limits": json.dumps(readable),
        "fitted": json.dumps(dict(fitted), sort_keys=True),
    }


def digest(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata_digest(data: Mapping[str, Any]) -> str:
    """The sha256 of the content of a `bundle.json`, however it is laid out, without the digest that it may hold."""
    content = {name: value for name, value in data.items() if name != DIGEST}
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise BundleError(f"{ABOUT} is nested too deeply to be a bundle's; export the bundle again") from None
    return hashlib.sha256(text.encode()).hexdigest()


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write `bundle.json`; the other files of the folder must be there already, as `bundle.sha256` says."""
    verify(folder, bundle)
    unused = {name for name in ("fitted", "open_gate") if not getattr(bundle, name)}
    data = bundle.model_dump(mode="json", exclude=unused)
    text = json.dumps(data | {DIGEST: metadata_digest(data)}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def read_bundle(folder: Path) -> Bundle:
    """The verified description of a bundle. One of an older version, whose `bundle.json` has no digest, is read too.

    Raises:
        BundleError: When a file is missing, is not a bundle's, or has changed since it was written.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise BundleError(f"{path} does not exist: {folder} is not a bundle; make one with `dvc repro export`")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); export the bundle again") from None
    if isinstance(data, dict) and DIGEST in data:
        expected = data.pop(DIGEST)
        if expected != (actual := metadata_digest(data)):
            raise BundleError(
                f"{path} is not what was exported: the sha256 of its content is {actual}, and it holds the {DIGEST} "
                f"{str(expected)[:80]}, so a field was changed (a metric, the strategy, a version, …); copy the whole "
                "folder again, or export it again"
            )
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
