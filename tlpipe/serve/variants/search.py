"""Variants of a bundle, measured on samples that it did not learn from: what is faster and loses little is kept."""

import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.bundle import MODEL, Bundle, Figure, digest, read_bundle, write_bundle
from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed, Split
from tlpipe.evaluate.compare import finite
from tlpipe.evaluate.judged import Judged, intervals, predictions_of
from tlpipe.evaluate.paired import Loss, disagreement, loss_of
from tlpipe.intervals import Interval
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.serve.runtime.session import Runtime, Session, first_line
from tlpipe.serve.runtime.tensorrt_profiles import Calls, profile
from tlpipe.serve.runtime.verification import carry_golden
from tlpipe.serve.variants.gate import AGREEMENT, Failure, Finding, Gate, problems
from tlpipe.serve.variants.quantize import CALIBRATORS, fp16, int8, int8_dynamic

Made = tuple[bytes, dict[str, float]]
"""A graph, and by calibrator what it was chosen by."""
Figures = dict[str, dict[str, Figure]]
"""By split, then metric."""
BATCHES = (1, 8)
"""Sizes of the calls that are timed."""
RESAMPLES = 1000
"""Resamples behind each interval of a kept variant's figures."""


def make_variants(bundle: Path, data: Path, out: Path, runtime: Runtime, gate: Gate) -> Iterator[Finding | Failure]:
    """Make and measure each variant; those that pass become bundles in `out/<variant>`, as they pass.

    One that fails to be made is reported like any other and does not keep the next one from being made.

    Raises:
        ConfigError: When the data are absent, too few, or not those of the bundle's labels and preprocessing.
    """
    about = read_bundle(bundle)
    if about.preprocessing.kind == "ngrams":
        raise ConfigError(f"{bundle} is a TF-IDF model: it has no network that a variant could make smaller")
    if not (data / "dataset.json").is_file():
        raise ConfigError(
            f"{data} has no dataset.json; give the folder that the prepare stage writes (data/packed of the bundle's "
            "project), or run `dvc repro prepare` there"
        )
    packed = Packed.open(data)
    if (packed.classes, packed.preprocess) != (about.labels, about.preprocessing):
        raise ConfigError(f"{data} holds other classes or another preprocessing than {bundle} was made with")
    measured = _Measured(bundle, about, packed, runtime, gate)
    makers = OF_IMAGES if isinstance(packed.preprocess, ImagePreprocess) else OF_TOKENS
    for name, make in makers.items():
        shutil.rmtree(out / name, ignore_errors=True)
        try:
            model, errors = make(measured)
            finding, figures = measured.finding(name, model, errors)
        except Exception as error:  # the tools' exceptions have no common class but this one
            yield Failure(
                variant=name, problems=(f"it could not be made: {type(error).__name__}: {first_line(error)}",)
            )
            continue
        if not finding.problems:
            _write(out / name, bundle, about, model, name, figures)
        yield finding


class _Measured:
    """What the bundle's own graph says of the samples, and what is measured against it."""

    def __init__(self, bundle: Path, about: Bundle, packed: Packed, runtime: Runtime, gate: Gate) -> None:
        self.model = (bundle / MODEL).read_bytes()
        self.about, self.packed, self.runtime, self.gate = about, packed, runtime, gate
        generator = np.random.default_rng(gate.seed)
        train = generator.permutation(packed.rows("train"))[: 2 * gate.calibration]
        unseen = len(packed.rows("validation")) and not packed.refit
        self.split: Split = "validation" if unseen else "test"
        self.rows = packed.rows(self.split)
        if len(train) < 2 or not len(self.rows):
            raise ConfigError(
                f"{packed.folder} has {len(train)} training rows and {len(self.rows)} of validation or test; variants "
                "need two to calibrate by and one to be judged by"
            )
        self.calibration, self.held = (np.sort(part) for part in np.array_split(train, 2))
        self.timed = generator.permutation(self.rows)
        self.session = self.open(self.model)

    def open(self, model: bytes) -> Session:
        """A session of the bundle's graph, or of a form of it, on the device that is measured."""
        tensorrt = self.runtime.resolve() == "tensorrt"
        return Session(model, self.runtime, profile(self.about, Calls()) if tensorrt else None)

    @cached_property
    def judged(self) -> Judged:
        """What the bundle says of the samples that judge."""
        return self.judge(self.said(self.session, self.rows))

    @cached_property
    def metric(self) -> str:
        """The task's first figure, or whether the same is said where the labels must not be looked at."""
        return next(iter(self.judged.measure())) if self.split == "validation" else AGREEMENT

    def judge(self, said: NDArray[np.float32]) -> Judged:
        """What was said of the marks of all rows that judge, put together as the evaluation does it."""
        return predictions_of(self.packed.task).assemble(self.packed, {self.split: said}, self.about.fitted)

    def feeds(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The graph's inputs of these rows: one array, or one for each input along the second axis."""
        samples, names = self.packed.samples[rows], [port.name for port in self.about.inputs]
        parts = [samples] if len(names) == 1 else np.moveaxis(samples, 1, 0)
        return {name: np.ascontiguousarray(part) for name, part in zip(names, parts, strict=True)}

    def said(self, session: Session, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What is judged (m, C) of the rows' marks, in order: the graph's last output, computed a few rows a call."""
        name, select = self.about.outputs[-1].name, self.packed.targets.select
        parts = (rows[start : start + 32] for start in range(0, len(rows), 32))
        return np.concatenate([select(part, session.run(self.feeds(part))[name]) for part in parts])

    def half(self) -> Made:
        """The graph in fp16."""
        return fp16(self.model), {}

    def dynamic_int8(self) -> Made:
        """The graph with int8 weights and ranges found in each call."""
        return int8_dynamic(self.model), {}

    def best_int8(self) -> Made:
        """The graph of the calibrator that is closest to the bundle on training samples which did not calibrate."""
        expected, images = self.said(self.session, self.held), self.packed.samples[self.calibration]
        made = {name: int8(self.model, self.about.inputs[0].name, images, name) for name in CALIBRATORS}
        errors = {
            name: float(np.abs(self.said(self.open(model), self.held) - expected).mean())
            for name, model in made.items()
        }
        best = min(errors, key=lambda name: (errors[name], CALIBRATORS.index(name)))
        return made[best], errors

    def finding(self, name: str, model: bytes, errors: dict[str, float]) -> tuple[Finding, Figures]:
        """The variant's figures and what is wrong with it; what its own bundle says of it."""
        session = self.open(model)
        said = self.said(session, self.rows)
        sound = bool(np.isfinite(said).all())
        judged = self.judge(said if sound else np.zeros_like(said))  # what is no number cannot be judged
        loss = self._loss(judged)
        speed = {str(size): self._speed(session, size) for size in BATCHES}
        finding = Finding(
            variant=name,
            device=session.device,
            split=self.split,
            samples=self.judged.size,
            agreement=float(self.judged.agrees(judged).mean()),
            metric=self.metric,
            loss=Figure(**finite(loss.interval)),
            worse=loss.worse,
            better=loss.better,
            needed=loss.needed,
            speed=speed,
            bytes=len(model),
            of_bytes=len(self.model),
            chosen_by=errors,
            problems=tuple(problems(self.metric, loss, speed, sound, self.gate)),
        )
        return finding, {self.split: self._figures(judged, loss)}

    def _loss(self, judged: Judged) -> Loss:
        if self.split == "validation":
            return loss_of(self.judged, judged, self.metric, self.gate.loss, self.gate.seed)
        return disagreement(self.judged, judged, self.gate.loss, self.gate.seed)

    def _figures(self, judged: Judged, loss: Loss) -> dict[str, Figure]:
        """The variant's own figures; on the test split the share of equal predictions alone."""
        if self.split == "validation":
            found = intervals([judged], RESAMPLES, self.gate.seed)
            return {metric: Figure(**finite(each)) for metric, each in found.items()}
        lost, low, high = loss.interval
        return {AGREEMENT: Figure(**finite(Interval(1 - lost, 1 - high, 1 - low)))}

    def _speed(self, session: Session, size: int) -> float:
        ratios = []
        for turn in range(self.gate.rounds + 2):
            feeds = self.feeds(np.take(self.timed, range(turn * size, (turn + 1) * size), mode="wrap"))
            pair = [_seconds(each, feeds) for each in (self.session, session)]
            if turn >= 2:  # the first calls of a size find memory
                ratios.append(pair[0] / pair[1])
        return float(np.median(ratios))


def _seconds(session: Session, feeds: dict[str, Any]) -> float:
    begun = perf_counter()
    session.run(feeds)
    return perf_counter() - begun


def _write(folder: Path, bundle: Path, about: Bundle, model: bytes, name: str, figures: Figures) -> None:
    """The variant as a bundle: its own hash and figures; those of the original and its proof do not hold."""
    folder.mkdir(parents=True)
    for file in about.sha256.keys() - {MODEL}:
        shutil.copyfile(bundle / file, folder / file)
    (folder / MODEL).write_bytes(model)
    carry_golden(bundle, folder, about)
    changes = {
        "metrics": figures,
        "parity": (),
        "versions": about.versions | {"variant": name},
        "sha256": {file: digest(folder / file) for file in about.sha256},
    }
    write_bundle(folder, about.model_copy(update=changes))


Maker = Callable[[_Measured], Made]
OF_IMAGES: dict[str, Maker] = {"fp16": _Measured.half, "int8": _Measured.best_int8}
OF_TOKENS: dict[str, Maker] = {"fp16": _Measured.half, "int8": _Measured.dynamic_int8}
"""The variants that are made, and how."""
