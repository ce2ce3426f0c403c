"""export: the champion as one ONNX file that takes raw images; written only when it computes what was trained."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tlpipe import config
from tlpipe.bundle import MODEL, Bundle, Figure, figures
from tlpipe.config import ConfigError
from tlpipe.data import AnySource
from tlpipe.data.base import Source
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Checks
from tlpipe.export.parity import Choice, ParityError
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.progress import plain_console, track
from tlpipe.tasks import facet
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
    choice = Choice(source, packed, rows, checks, about.preprocess, CHAMPION, track)
    samples = facet(about.task.kind, "export:held_out")(choice)
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
    raw = about.preprocess.kind == "ngrams" and packed.task == about.task.kind  # reads no packed tokens
    if packed.classes != about.labels or (packed.preprocess != about.preprocess and not raw):
        raise ConfigError(
            f"{CHAMPION} was trained on other data than {PACKED} holds: it knows the classes {list(about.labels)} with "
            f"{about.preprocess!r}, the data have {list(packed.classes)} with {packed.preprocess!r}; run `dvc repro`"
        )


def spread(rows: np.ndarray[Any, np.dtype[np.int64]], count: int) -> list[int]:
    """At most `count` of `rows`, evenly spaced, ascending."""
    return [int(rows[at]) for at in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


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
