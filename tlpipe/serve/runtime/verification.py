"""What is proved of a bundle before it is served, on the device and the provider that serve it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tlpipe.bundle import ABOUT, MODEL, Bundle, BundleError, Port
from tlpipe.golden import GOLDEN, Golden, GoldenSample, read_golden, write_golden
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.ngrams import NgramPreprocess
from tlpipe.preprocess.text import TokenPreprocess
from tlpipe.serve.reading import BadInput, Reading, Row, Sample
from tlpipe.serve.readings import reading
from tlpipe.serve.runtime.session import Runtime, Session, Tensors

Run = Callable[[Tensors], Tensors]
DO = "export the bundle again, or copy its whole folder again"
ELSEWHERE = 0.01
"""Largest difference of a probability, and of a logit relative to the largest one, on other devices than a CPU, whose
products may have ten bits of mantissa (TF32) and whose convolutions add up in another order."""


def agree(bundle: Bundle, session: Session) -> None:
    """Raises BundleError when `bundle.json` says something else than the graph says of itself."""
    for problem in _contradictions(bundle, session):
        raise BundleError(f"{ABOUT} contradicts {MODEL}: {problem}; {DO}")


def _contradictions(bundle: Bundle, session: Session) -> Iterator[str]:
    fixed = session.profile.fixed if session.profile else {}
    for what, ports, actual in (
        ("input", bundle.inputs, session.input_ports),
        ("output", bundle.outputs, session.output_ports),
    ):
        names, theirs = sorted(port.name for port in ports), sorted(actual)
        if names != theirs:
            yield f"it names the {what}s {names}, and the graph has {theirs}"
            return
        for port in ports:
            dtype, shape = actual[port.name]
            if port.dtype != dtype:
                yield f"the {what} {port.name!r} is {port.dtype} there, and {dtype} in the graph"
            if not _fits([fixed.get(str(axis), axis) for axis in port.shape], shape):
                yield f"the {what} {port.name!r} has shape {list(port.shape)} there, and {list(shape)} in the graph"
    for name, value in bundle.of_itself().items():
        if name in session.metadata and session.metadata[name] != value:
            yield f"{name} is {value[:200]} there, and {session.metadata[name][:200]} in the graph"


def _fits(described: Sequence[int | str], actual: Sequence[int | str | None]) -> bool:
    """A size that the graph fixes is that of the description; of one that it does not say, its outputs will."""
    return len(described) == len(actual) and all(
        one == other for one, other in zip(described, actual, strict=True) if isinstance(other, int)
    )


def try_out(bundle: Bundle, reading: Reading, session: Session) -> None:
    """Run an example and, of tokens, the highest and the most that are taken; warms the session up.

    Raises:
        BundleError: When the graph refuses them, or gives what `bundle.json` does not describe.
    """
    feeds = [_stack([reading.example().rows[0]])]
    if isinstance(bundle.preprocessing, TokenPreprocess | NgramPreprocess) and reading.vocabulary:
        feeds.append(_extreme(bundle.preprocessing, feeds[0], reading.vocabulary))
    for item in feeds:
        try:
            outputs = session.run(item)
        except Exception as error:  # onnxruntime's exceptions have no common class but this one
            raise BundleError(f"{MODEL} cannot run what {ABOUT} describes: {str(error)[:300]}; {DO}") from None
        for port in bundle.outputs:
            _check_output(port, outputs[port.name])


def _extreme(preprocess: TokenPreprocess | NgramPreprocess, example: Tensors, vocabulary: int) -> Tensors:
    most = dict(zip(preprocess.inputs, (vocabulary - 1, 1, 1), strict=False))
    shape = (1, preprocess.max_length if isinstance(preprocess, TokenPreprocess) else 1)
    return {name: np.full(shape, most[name], value.dtype) for name, value in example.items()}


def _check_output(port: Port, value: NDArray[Any]) -> None:
    sizes = list(value.shape)
    fits = len(sizes) == len(port.shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(port.shape, sizes, strict=True)
    )
    if value.dtype.name != port.dtype or not fits:
        raise BundleError(
            f"{ABOUT} contradicts {MODEL}: the output {port.name!r} is {port.dtype} {list(port.shape)} there, and the "
            f"graph gives {value.dtype.name} {sizes}; {DO}"
        )
    if not np.isfinite(value).all():
        raise BundleError(f"{MODEL} gives values in {port.name!r} that are not finite; {DO}")


def prove(golden: Golden, reading: Reading, runs: Mapping[str, Run], device: str, resizes: bool = True) -> None:
    """Answer for the golden samples on this device, by each of `runs` (named for messages).

    They are read as a client's samples are, and of images the graph's own resize is held to the truth too where it
    `resizes` anything.

    Raises:
        BundleError: When a sample cannot be read, or the answer is not what torch gave where it was trained.
    """
    strict = golden.network_tolerance if device == "cpu" else max(golden.network_tolerance, ELSEWHERE)
    for number, expected in enumerate(golden.samples, start=1):
        where = f"golden sample {number} of {len(golden.samples)} ({GOLDEN})"
        sample = _read(expected, reading, where)
        if len(sample.rows) != len(expected.rows):
            raise BundleError(f"{where}: it is {len(sample.rows)} rows here and was {len(expected.rows)}; {DO}")
        for name, run in runs.items():
            for row, truth in zip(sample.rows, expected.rows, strict=True):
                _compare(run(_stack([row])), truth, (strict, strict), f"{where}, {name}")
            if resizes and isinstance(getattr(reading, "preprocess", None), ImagePreprocess):
                outputs = run(_whole_image(expected, reading, sample))
                loose = max(golden.tolerance, strict)
                _compare(outputs, expected.rows[0], (loose, None), f"{where}, resized by the graph, {name}")


def carry_golden(bundle: Path, folder: Path, about: Bundle) -> None:
    """Write into `folder` the golden samples of `bundle`, `about` being its description, as the graph there answers."""
    if GOLDEN in about.sha256:
        run = Session((folder / MODEL).read_bytes(), Runtime(device="cpu")).run
        write_golden(folder, answered(read_golden(bundle), reading(about, bundle), run))


def answered(golden: Golden, reading: Reading, run: Run) -> Golden:
    """The same samples with what `run` says of them, for a graph that is allowed to differ from the trained model.

    Other processors round it in another way: they are held to the wider of the two tolerances.
    """
    samples = []
    for number, item in enumerate(golden.samples, start=1):
        rows = _read(item, reading, f"golden sample {number} of {len(golden.samples)} ({GOLDEN})").rows
        outputs = (run(_stack([row])) for row in rows)
        answers = tuple(
            {name: actual[name][0][: len(values)].tolist() for name, values in truth.items()}
            for actual, truth in zip(outputs, item.rows, strict=True)
        )
        samples.append(item.model_copy(update={"rows": answers}))
    return golden.model_copy(update={"samples": tuple(samples), "network_tolerance": golden.tolerance})


def _read(expected: GoldenSample, reading: Reading, where: str) -> Sample:
    try:
        return reading.decode(expected.content, expected.media)
    except BadInput as error:
        raise BundleError(f"{where} cannot be read: {error}; {DO}") from None


def _whole_image(expected: GoldenSample, reading: Reading, sample: Sample) -> Tensors:
    preprocess = cast(ImagePreprocess, cast(Any, reading).preprocess)
    (name,) = sample.rows[0]
    return {name: preprocess.read(expected.content)[None]}


def _compare(outputs: Tensors, truth: Mapping[str, list[Any]], limits: tuple[float, float | None], where: str) -> None:
    for name, limit in zip(("probabilities", "logits"), limits, strict=True):
        if name not in truth or limit is None:
            continue
        expected = np.asarray(truth[name], np.float64)
        got = np.asarray(outputs[name][0], np.float64)
        got = got[: len(expected)] if expected.ndim > 1 else got  # of tokens, without the padding
        if got.shape != expected.shape:
            raise BundleError(f"{where}: {name} have shape {list(got.shape)}, and had {list(expected.shape)}; {DO}")
        scale = max(1.0, float(np.abs(expected).max(initial=0))) if name == "logits" else 1.0
        error = float(np.abs(got - expected).max(initial=0)) / scale
        if not error <= limit:
            raise BundleError(
                f"{where}: {name} differ by {error:.3g} from the trained model's, allowed {limit:g}: answers "
                "would be wrong here. Try another device (--device cpu) or another version of onnxruntime; if they "
                f"differ there too, {DO}"
            )


def _stack(rows: Sequence[Row]) -> Tensors:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
