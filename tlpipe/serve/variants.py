"""Variants of a bundle, measured on real validation samples: only what is faster and loses little is kept."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tlpipe.bundle import MODEL, Bundle, Figure, digest, read_bundle, write_bundle
from tlpipe.config import ConfigError, Spec
from tlpipe.data.packed import Packed
from tlpipe.metrics import bootstrap, paired_difference
from tlpipe.serve.quantize import CALIBRATORS, fp16, int8, int8_dynamic
from tlpipe.serve.session import Runtime, Session

Scores = NDArray[np.float64]
BATCHES = (1, 8)
"""Sizes of the calls that are timed."""


class Gate(Spec):
    """What a variant must be to be kept."""

    loss: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Most accuracy that may be lost: the upper end of the 95 % interval of the loss must not be above it."""
    faster: Annotated[float, Field(ge=1)] = 1.1
    """Least speed, relative to the bundle's own, at every timed size of a call."""
    calibration: Annotated[int, Field(ge=2)] = 128
    """Training samples for calibration, and as many others to choose the calibrator by."""
    samples: Annotated[int, Field(ge=1)] = 1000
    """Most validation samples."""
    rounds: Annotated[int, Field(ge=3)] = 25
    """Timed calls of each size; the bundle and the variant take turns."""
    seed: int = 0


class Finding(Spec):
    """One variant, measured."""

    variant: str
    device: str
    samples: int
    """Validation samples."""
    agreement: float
    """Share of them with the same first label."""
    loss: Figure
    """Accuracy lost, with its paired 95 % interval; negative when the variant is better."""
    speed: dict[str, float]
    """By size of a call: the bundle's median time divided by the variant's, taken in turns."""
    bytes: int
    of_bytes: int
    """The bundle's own."""
    chosen_by: dict[str, float]
    """By calibrator: mean difference of probabilities on training samples that did not calibrate."""
    problems: tuple[str, ...]
    """Why it is not kept, a sentence each; empty when it is."""

    def summary(self) -> str:
        """The figures in one line."""
        speeds = ", ".join(f"{ratio:.2f} times as fast at {size} a call" for size, ratio in self.speed.items())
        low, high = (float("nan") if each is None else each for each in (self.loss.low, self.loss.high))
        return (
            f"{self.bytes / self.of_bytes:.0%} of the size, {speeds}, same label on {self.agreement:.1%} of "
            f"{self.samples}, accuracy lost {self.loss.value:.4f} [{low:.4f}, {high:.4f}]"
        )


def make_variants(bundle: Path, data: Path, out: Path, runtime: Runtime, gate: Gate) -> Iterator[Finding]:
    """Make and measure each variant; those that pass become bundles in `out/<variant>`, as they pass.

    Raises:
        ConfigError: When the data are not those of the bundle's labels and preprocessing, or it is no classifier.
    """
    about, packed = read_bundle(bundle), Packed.open(data)
    if (packed.classes, packed.preprocess) != (about.labels, about.preprocessing):
        raise ConfigError(f"{data} holds other classes or another preprocessing than {bundle} was made with")
    if not any(port.name == "probabilities" and len(port.shape) == 2 for port in about.outputs):
        raise ConfigError(f"variants are measured by accuracy, and {bundle} is no classifier: {about.task}")
    measured = _Measured(bundle, about, packed, runtime, gate)
    for name, make in MAKERS[packed.preprocess.kind].items():
        shutil.rmtree(out / name, ignore_errors=True)
        model, errors = make(measured)
        finding, scores = measured.finding(name, model, errors)
        if not finding.problems:
            accuracy = bootstrap(measured.labels, scores)["accuracy"]._asdict()
            _write(out / name, bundle, about, model, name, accuracy)
        yield finding


class _Measured:
    """The bundle's own outputs on the samples, and what is measured against them."""

    def __init__(self, bundle: Path, about: Bundle, packed: Packed, runtime: Runtime, gate: Gate) -> None:
        self.model = (bundle / MODEL).read_bytes()
        self.runtime, self.gate = runtime, gate
        self.inputs, self.samples = tuple(port.name for port in about.inputs), packed.images
        generator = np.random.default_rng(gate.seed)
        train = _draw(generator, packed.rows("train"), 2 * gate.calibration)
        self.rows = np.sort(_draw(generator, packed.rows("validation"), gate.samples))
        if len(train) < 2 or not len(self.rows):
            raise ConfigError(f"{packed.folder} has too few training or validation samples to make variants with")
        self.calibration, self.held = (np.sort(part) for part in np.array_split(train, 2))
        self.labels = packed.labels[self.rows]
        self.session = Session(self.model, runtime)
        self.scores = self.probabilities(self.session, self.rows)

    def feeds(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The graph's inputs of these samples: one array, or one for each input along the second axis."""
        samples = self.samples[rows]
        parts = [samples] if len(self.inputs) == 1 else np.moveaxis(samples, 1, 0)
        return {name: np.ascontiguousarray(part) for name, part in zip(self.inputs, parts, strict=True)}

    def probabilities(self, session: Session, rows: NDArray[np.int64]) -> Scores:
        """(N, C), computed a few samples a call."""
        parts = (rows[start : start + 32] for start in range(0, len(rows), 32))
        found = [session.run(self.feeds(part))["probabilities"] for part in parts]
        return np.concatenate(found).astype(np.float64)

    def half(self) -> tuple[bytes, dict[str, float]]:
        """The graph in fp16."""
        return fp16(self.model), {}

    def dynamic_int8(self) -> tuple[bytes, dict[str, float]]:
        """The graph with int8 weights and ranges found in each call."""
        return int8_dynamic(self.model), {}

    def best_int8(self) -> tuple[bytes, dict[str, float]]:
        """The graph of the calibrator that is closest to the bundle on training samples which did not calibrate."""
        expected, images = self.probabilities(self.session, self.held), self.samples[self.calibration]
        made = {name: int8(self.model, self.inputs[0], images, name) for name in CALIBRATORS}
        errors = {
            name: float(np.abs(self.probabilities(Session(model, self.runtime), self.held) - expected).mean())
            for name, model in made.items()
        }
        best = min(errors, key=lambda name: (errors[name], CALIBRATORS.index(name)))
        return made[best], errors

    def finding(self, name: str, model: bytes, errors: dict[str, float]) -> tuple[Finding, Scores]:
        """The variant's figures and what is wrong with it; its probabilities (N, C)."""
        session = Session(model, self.runtime)
        scores = self.probabilities(session, self.rows)
        seed = self.gate.seed
        loss = Figure(**paired_difference("accuracy", self.labels, self.scores, scores, seed=seed)._asdict())
        speed = {str(size): self._speed(session, size) for size in BATCHES}
        agreement = float((scores.argmax(axis=1) == self.scores.argmax(axis=1)).mean())
        return Finding(
            variant=name,
            device=session.device,
            samples=len(scores),
            agreement=agreement,
            loss=loss,
            speed=speed,
            bytes=len(model),
            of_bytes=len(self.model),
            chosen_by=errors,
            problems=tuple(problems(loss, speed, bool(np.isfinite(scores).all()), self.gate)),
        ), scores

    def _speed(self, session: Session, size: int) -> float:
        ratios = []
        for turn in range(self.gate.rounds + 2):
            feeds = self.feeds(np.take(self.rows, range(turn * size, (turn + 1) * size), mode="wrap"))
            pair = [_seconds(each, feeds) for each in (self.session, session)]
            if turn >= 2:  # the first calls of a size find memory
                ratios.append(pair[0] / pair[1])
        return float(np.median(ratios))


def problems(loss: Figure, speed: dict[str, float], finite: bool, gate: Gate) -> Iterator[str]:
    """Why a variant with these figures is not kept."""
    if not finite:
        yield "its outputs are not finite"
    if loss.high is None or loss.high > gate.loss:
        high = "unknown" if loss.high is None else f"{loss.high:.4f}"
        yield f"it may lose {high} of accuracy (upper end of the 95 % interval), allowed {gate.loss:g}"
    for size, ratio in speed.items():
        if ratio < gate.faster:
            yield f"{size} a call: {ratio:.2f} times the bundle's speed here, required {gate.faster:g}"


def _draw(generator: np.random.Generator, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return generator.permutation(rows)[:count]


def _seconds(session: Session, feeds: dict[str, Any]) -> float:
    begun = perf_counter()
    session.run(feeds)
    return perf_counter() - begun


def _write(folder: Path, bundle: Path, about: Bundle, model: bytes, name: str, accuracy: dict[str, float]) -> None:
    """The variant as a bundle: its own hash and accuracy; the figures and the proof of the original do not hold."""
    folder.mkdir(parents=True)
    for file in about.sha256.keys() - {MODEL}:
        shutil.copyfile(bundle / file, folder / file)
    (folder / MODEL).write_bytes(model)
    changes = {
        "metrics": {"validation": {"accuracy": Figure(**accuracy)}},
        "parity": (),
        "versions": about.versions | {"variant": name},
        "sha256": about.sha256 | {MODEL: digest(folder / MODEL)},
    }
    write_bundle(folder, about.model_copy(update=changes))


Maker = Callable[[_Measured], tuple[bytes, dict[str, float]]]
MAKERS: dict[str, dict[str, Maker]] = {
    "image": {"fp16": _Measured.half, "int8": _Measured.best_int8},
    "text": {"fp16": _Measured.half, "int8": _Measured.dynamic_int8},
}
"""By kind of preprocessing: the variants that are made, and how."""
