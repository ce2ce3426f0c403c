"""export: the champion as one ONNX file that takes raw images; written only when it computes what was trained."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.table import Table

from tlpipe import config
from tlpipe.bundle import MODEL, Bundle, Figure, figures
from tlpipe.config import ConfigError
from tlpipe.data import AnySource
from tlpipe.data.base import Source
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Checks
from tlpipe.export.parity import HeldOut, ParityError, Pictures
from tlpipe.export.question_parity import HeldOutQuestions
from tlpipe.export.spec import Export
from tlpipe.export.text_parity import HeldOutTexts
from tlpipe.export.word_parity import HeldOutWords
from tlpipe.export.write import export_bundle
from tlpipe.preprocess.decode import UnreadableImage
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.ngrams import VOCABULARY
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.progress import plain_console, track
from tlpipe.tracking import Tracking, log_bundle
from tlpipe.train.model import About, load_any

PACKED, CHAMPION = Path("data/packed"), Path("models/champion")
BUNDLE, PARITY = Path("models/bundle"), Path("reports/parity.json")


def main() -> None:
    """Write models/bundle/ and reports/parity.json; exit code 1 when the exported file fails its gate."""
    spec: Export = config.load("export", Export)
    source: Source = config.load("data.source", AnySource)
    checks: Checks = config.load("data.checks", Checks)
    packed, (model, about) = Packed.open(PACKED), load_any(CHAMPION)
    require_same_data(packed, about)
    rows = spread(packed.rows("test"), spec.samples)
    samples = HELD_OUT[about.preprocess.kind](source, packed, rows, checks)
    try:
        bundle = export_bundle(BUNDLE, PARITY, model, about, samples, champion_figures(), spec)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    plain_console().print(summary(bundle))
    publish(about)


def publish(about: About) -> None:
    """Hand the bundle to MLflow in the background; it never fails the stage."""
    tracking: Tracking = config.load("tracking", Tracking)
    if tracking.enabled:
        log_bundle(about.run_key, BUNDLE, timeout=0)


def require_same_data(packed: Packed, about: About) -> None:
    """Raises ConfigError when the packed images were not made for this model."""
    raw = about.preprocess.kind == "ngrams" and packed.preprocess.kind == about.task.form  # reads no packed tokens
    if packed.classes != about.labels or (packed.preprocess != about.preprocess and not raw):
        raise ConfigError(
            f"{CHAMPION} was trained on other data than {PACKED} holds: it knows the classes {list(about.labels)} with "
            f"{about.preprocess!r}, the data have {list(packed.classes)} with {packed.preprocess!r}; run `dvc repro`"
        )


def spread(rows: np.ndarray[Any, np.dtype[np.int64]], count: int) -> list[int]:
    """At most `count` of `rows`, evenly spaced, ascending."""
    return [int(rows[at]) for at in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def raw_images(source: Source, ids: Iterator[str], preprocess: ImagePreprocess, max_pixels: int) -> Iterator[Pictures]:
    """Each sample decoded from its raw bytes. Raises ConfigError when a file is not what it was when it was packed."""
    for name in ids:
        try:
            yield preprocess.read(source.read(name), max_pixels)
        except (OSError, UnreadableImage) as error:
            raise ConfigError(f"the sample {name!r} can no longer be read ({error}); run `dvc repro` again") from None


def held_out_images(source: Source, packed: Packed, rows: list[int], checks: Checks) -> HeldOut:
    """The images of these rows, decoded from their raw bytes when their turn comes."""
    ids = track([packed.ids[row] for row in rows], "torch against onnxruntime", unit="images")
    preprocess = cast(ImagePreprocess, packed.preprocess)
    images = raw_images(source, ids, preprocess, checks.max_pixels)
    return HeldOut(images, packed.samples[rows], max_pixels=checks.max_pixels)


def held_out_texts(source: Source, packed: Packed, rows: list[int], checks: Checks) -> HeldOutTexts:
    """The raw texts of these rows, read from the source again, and the tokenizer that the packed tokens are from."""
    texts = [tuple(json.loads(source.read(packed.ids[row]))) for row in rows]
    return HeldOutTexts(texts, packed.folder / TOKENIZER)


def held_out_ngrams(source: Source, packed: Packed, rows: list[int], checks: Checks) -> HeldOutTexts:
    """As `held_out_texts`, with the champion's vocabulary in the place of a tokenizer."""
    return HeldOutTexts(held_out_texts(source, packed, rows, checks).raw, CHAMPION / VOCABULARY)


def held_out_words(source: Source, packed: Packed, rows: list[int], checks: Checks) -> HeldOutWords:
    """The words of these rows' sentences, read from the source again, and the tokenizer of the packed tokens."""
    names = dict.fromkeys(packed.ids[row] for row in rows)
    return HeldOutWords([json.loads(source.read(name))["tokens"] for name in names], packed.folder / TOKENIZER)


def held_out_questions(source: Source, packed: Packed, rows: list[int], checks: Checks) -> HeldOutQuestions:
    """The questions of these rows with their contexts, read from the source again, and the tokenizer of the tokens."""
    read = [json.loads(source.read(name)) for name in dict.fromkeys(packed.ids[row] for row in rows)]
    return HeldOutQuestions([(each["question"], each["context"]) for each in read], packed.folder / TOKENIZER)


Held = HeldOut | HeldOutTexts | HeldOutWords | HeldOutQuestions
HELD_OUT: dict[str, Callable[[Source, Packed, list[int], Checks], Held]] = {
    "image": held_out_images,
    "text": held_out_texts,
    "words": held_out_words,
    "questions": held_out_questions,
    "ngrams": held_out_ngrams,
}
"""Raw test samples for the gate, by the kind of preprocessing."""


def champion_figures() -> dict[str, dict[str, Figure]]:
    """The champion's validation and test metrics with their intervals."""
    try:
        metrics, intervals = (json.loads((CHAMPION / name).read_text()) for name in ("metrics.json", "intervals.json"))
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} does not exist; run `dvc repro compare` first") from None
    return figures(metrics, intervals)


def truth_of(bundle: Bundle) -> str:
    """What the exported file was compared with."""
    return "scikit-learn" if bundle.preprocessing.kind == "ngrams" else "torch"


def summary(bundle: Bundle) -> Table:
    """The gate's figures, and where the bundle is."""
    size = (BUNDLE / MODEL).stat().st_size / 2**20
    title = f"{BUNDLE / MODEL}: {bundle.strategy}, {len(bundle.labels)} classes, {size:.1f} MiB"
    table = Table(
        title=title, caption=f"onnxruntime against {truth_of(bundle)}", title_justify="left", caption_justify="left"
    )
    for heading in ("case", "a call", "samples", "largest difference", "allowed", "same first label"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for case in bundle.parity:
        found = "-" if case.probabilities is None or case.same is None else f"{case.probabilities:.2g}"
        same = "-" if case.same is None else f"{case.same:.1%}"
        table.add_row(case.name, str(case.batch), str(case.samples), found, f"{case.tolerance:g}", same)
    return table
