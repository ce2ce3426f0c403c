"""The gate: the exported file, run by onnxruntime, must compute what torch computes from the same raw images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image

from tlpipe.bundle import Case
from tlpipe.data.base import Source, Track
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Checks
from tlpipe.export.graph import INPUT, VIEW
from tlpipe.export.onnx import LOGITS, PROBABILITIES, Calibrated, labels_of
from tlpipe.export.spec import Export
from tlpipe.preprocess.decode import MAX_PIXELS
from tlpipe.train.model import About, Classifier

Pictures = NDArray[np.uint8]
Scores = NDArray[np.float32]
LEVELS = 1.5
"""Grey levels by which a resized pixel may differ: onnxruntime and Pillow round a half differently, which is one."""


class ParityError(RuntimeError):
    """The exported file does not compute what was trained."""


@dataclass(frozen=True)
class Choice:
    """The test samples that the gate compares, and what reading them takes."""

    source: Source
    packed: Packed
    rows: Sequence[int]
    """Rows of `packed`, ascending."""
    checks: Checks
    preprocess: Any
    """Of the model, which may be another one than that of the packed samples."""
    champion: Path
    """The model's folder."""
    track: Track


@dataclass(frozen=True)
class HeldOut:
    """Images that the model has not seen, in two forms."""

    raw: Iterable[Pictures]
    """(H, W, 3) uint8 RGB as decoded, each of its own size; read once, a batch at a time."""
    packed: Pictures
    """(N, R, R, 3) uint8 at the size to which the preprocessing resizes, where its resize does nothing: both sides
    then see the same numbers, and what is compared, strictly, is the network."""
    files: dict[str, Path] = field(default_factory=dict)
    """What a bundle needs besides the graph: nothing, for images."""
    max_pixels: int = MAX_PIXELS
    """Images of more pixels were not trained on."""


@dataclass(frozen=True)
class Outputs:
    """Calibrated logits and probabilities, (N, C) or of tokens (N, L, C); columns in the order of the labels."""

    logits: Scores
    probabilities: Scores

    @classmethod
    def together(cls, parts: Sequence[Any]) -> "Outputs":
        """Those of all `parts`, which have logits and probabilities of their own, one after the other."""
        return cls(*(np.concatenate([getattr(each, name) for each in parts]) for name in ("logits", "probabilities")))


class Reference:
    """The truth: Pillow and numpy preprocessing, then the trained model in torch on the CPU."""

    def __init__(self, model: Classifier, about: About) -> None:
        self.model = Calibrated(model, about)
        self.preprocess: Any = about.preprocess

    @torch.no_grad()
    def __call__(self, images: Iterable[Pictures]) -> Outputs:
        """Outputs of raw RGB images, (H, W, 3) each, of one size or of many."""
        view = torch.from_numpy(np.stack([self.preprocess(image) for image in images]))
        logits, probabilities = self.model(view)
        return Outputs(logits.numpy(), probabilities.numpy())


class Exported:
    """The file under test, by onnxruntime on the CPU as anyone would run it, its columns found by their labels."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self.session = session_of(path)
        self.columns = columns_of(self.session, path, labels)

    def __call__(self, images: Pictures) -> Outputs:
        """Outputs of raw RGB images (N, H, W, 3)."""
        logits, probabilities = self.session.run([LOGITS, PROBABILITIES], {INPUT: images})
        return Outputs(logits[:, self.columns], probabilities[:, self.columns])


class Resized:
    """The front of the file under test, up to what the network sees: a small network may not tell a wrong resize."""

    def __init__(self, path: Path, preprocess: Any) -> None:
        self.preprocess = preprocess
        front = onnx.utils.Extractor(onnx.load(path)).extract_model([INPUT], [VIEW])
        self.session = onnxruntime.InferenceSession(front.SerializeToString(), providers=["CPUExecutionProvider"])

    def error(self, images: Pictures) -> float:
        """Largest difference from Pillow's pixels (N, H, W, 3), in grey levels."""
        (view,) = self.session.run([VIEW], {INPUT: images})
        difference = np.abs(view - np.stack([self.preprocess(image) for image in images]))
        return float((difference * 255 * np.reshape(self.preprocess.std, (3, 1, 1))).max())


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """The ONNX file on the CPU, beside torch."""
    options = onnxruntime.SessionOptions()
    # torch's threads and onnxruntime's take turns here: those that wait must not spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def columns_of(session: onnxruntime.InferenceSession, path: Path, labels: Sequence[str]) -> list[int]:
    """Where each of `labels` is among the file's outputs. Raises ParityError when the file has other labels."""
    names = labels_of(session.get_modelmeta().custom_metadata_map)
    if sorted(names) != sorted(labels):
        raise ParityError(f"{path.name} names the classes {list(names)}, the trained model {list(labels)}")
    return [names.index(label) for label in labels]


class Agreed(NamedTuple):
    """How far torch and onnxruntime say the same: of so many samples, this share, and that one differs by a tie."""

    samples: int
    same: float
    ties: float


class Limits(NamedTuple):
    """The largest differences that pass, of probabilities and of logits; None = of the latter any."""

    probabilities: float
    logits: float | None


def figures(
    name: str, batch: int, sides: tuple[Outputs, Outputs], agreed: Agreed, limits: Limits, least: float
) -> Case:
    """One case from the outputs of torch and of onnxruntime, in this order; none but `finite` where some are not.

    Differences of logits are relative to torch's largest one, if that is above 1. `least` is the share of samples that
    have to agree.
    """
    logits, probabilities = ([getattr(side, each) for side in sides] for each in ("logits", "probabilities"))
    finite = all(bool(np.isfinite(each).all()) for each in (*logits, *probabilities))
    scale = max(1.0, float(np.abs(logits[0]).max(initial=0)))
    return Case(
        name=name,
        batch=batch,
        samples=agreed.samples,
        finite=finite,
        probabilities=float(np.abs(probabilities[0] - probabilities[1]).max(initial=0)) if finite else None,
        logits=float(np.abs(logits[0] - logits[1]).max(initial=0)) / scale if finite else None,
        tolerance=limits.probabilities,
        logits_tolerance=limits.logits,
        same=agreed.same if finite else None,
        ties=agreed.ties if finite else None,
        agreement=least,
    )


@dataclass
class Tally:
    """What has been seen of one case so far."""

    case: str
    batch: int
    strict: bool
    """Nothing is resized, so that only the network's arithmetic can differ."""
    pairs: list[tuple[Outputs, Outputs]] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    """Largest difference of a resized pixel of each call, in grey levels."""

    def result(self, spec: Export) -> Case:
        """The figures of the case; differences are between torch (first of each pair) and onnxruntime."""
        truth, found = (Outputs.together(side) for side in zip(*self.pairs, strict=True))
        tolerance = spec.network_tolerance if self.strict else spec.tolerance
        agreed = Agreed(len(truth.logits), *agreement(truth.probabilities, found.probabilities, tolerance))
        limits = Limits(tolerance, tolerance if self.strict else None)
        case = figures(self.case, self.batch, (truth, found), agreed, limits, spec.agreement)
        return case.model_copy(update={"levels": max(self.levels), "levels_tolerance": LEVELS}) if self.levels else case


def agreement(truth: Scores, found: Scores, tolerance: float) -> tuple[float, float]:
    """(share of the samples with the same first label, share of those that differ by a tie); both inputs (N, C).

    A tie is a sample for which the label that `found` puts first has, in `truth`, a probability within `tolerance`
    of the first one's.
    """
    first, chosen = truth.argmax(axis=1), found.argmax(axis=1)
    rows = np.arange(len(truth))
    tied = (first != chosen) & (truth[rows, first] - truth[rows, chosen] <= tolerance)
    return float((first == chosen).mean()), float(tied.mean())


def compare(path: Path, model: Classifier, about: About, images: HeldOut, spec: Export) -> tuple[Case, ...]:
    """Every case's figures for the ONNX file `path`; whether they are good enough is `Case.problems`'s to say.

    Raises:
        ParityError: When the file's labels are not the model's, or there are no images.
    """
    reference, exported = Reference(model, about), Exported(path, about.labels)
    resized = Resized(path, reference.preprocess)
    tallies: dict[tuple[str, int], Tally] = {}
    for name, chunk in _chunks_by_case(images, reference.preprocess.resize_to, spec.batch):
        for batch, truth, found in _alone_and_together(chunk, spec.batch, reference, exported):
            tally = tallies.setdefault((name, batch), Tally(name, batch, strict=name == "packed"))
            tally.pairs.append((truth, found))
            if batch == 1 and not tally.strict:
                tally.levels.append(max(resized.error(image[None]) for image in chunk))
    return tuple(tally.result(spec) for tally in tallies.values())


def _chunks_by_case(images: HeldOut, edge: int, batch: int) -> Iterator[tuple[str, list[Pictures]]]:
    """(case, at most `batch` images) of everything that is compared."""
    first: Pictures | None = None
    for chunk in _chunks(images.raw, batch):
        first = chunk[0] if first is None else first
        yield "raw", chunk
    if first is None or not len(images.packed):
        raise ParityError("there are no held-out images to compare torch and onnxruntime on: the test split is empty")
    for image in awkward(first, edge):
        yield "awkward", [image]
    for chunk in _chunks(images.packed, batch):
        yield "packed", chunk


def _alone_and_together(
    chunk: list[Pictures], batch: int, reference: Reference, exported: Exported
) -> Iterator[tuple[int, Outputs, Outputs]]:
    """(images a call, torch's outputs, onnxruntime's) of the chunk's images one by one, then in one call."""
    truth = reference(chunk)
    for row, image in enumerate(chunk):
        yield 1, Outputs(truth.logits[row : row + 1], truth.probabilities[row : row + 1]), exported(image[None])
    stack = _stack(chunk)
    unchanged = [image.shape for image in chunk] == [image.shape for image in stack]
    yield batch, truth if unchanged else reference(stack), exported(stack)


def _chunks(images: Iterable[Pictures], count: int) -> Iterator[list[Pictures]]:
    iterator = iter(images)
    while chunk := list(islice(iterator, count)):
        yield chunk


def _stack(images: list[Pictures]) -> Pictures:
    """One batch of raw images: cut to the size that all of them have, a single one joined by its mirror image."""
    if len(images) == 1:
        images = [images[0], images[0][:, ::-1]]
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    return np.stack([_middle(image, height, width) for image in images])


def _middle(image: Pictures, height: int, width: int) -> Pictures:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def awkward(image: Pictures, edge: int) -> Iterator[Pictures]:
    """`image` at sizes that break careless graphs (one pixel, extreme shapes, around `edge`), and without colour."""
    shapes = ((1, 1), (1, 9), (9, 1), (edge - 1, edge), (edge, edge + 1), (2 * edge + 1, edge // 2), (edge, 3 * edge))
    picture = Image.fromarray(image)
    for height, width in shapes:
        yield np.asarray(picture.resize((width, height)))
    yield from noisy(image, edge)
    yield np.asarray(picture.convert("L").convert("RGB"))


def noisy(image: Pictures, edge: int) -> Iterator[Pictures]:
    """Coloured noise that is larger than `edge` both ways: alone, and over `image`.

    A resize that does not average before it takes fewer pixels keeps the noise; smooth pictures, and those that are
    only enlarged, do not tell.
    """
    generator = np.random.default_rng(0)
    height, width = 2 * edge + 3, 2 * edge + 1
    yield generator.integers(0, 256, (height, width, 3), np.uint8)
    picture = np.asarray(Image.fromarray(image).resize((3 * edge, 3 * edge)), np.int64)
    yield np.clip(picture + generator.integers(-128, 129, picture.shape), 0, 255).astype(np.uint8)
