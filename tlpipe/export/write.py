"""The bundle, written only when the exported file has passed its gate."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn

from tlpipe import __version__
from tlpipe.bundle import MODEL, Bundle, Case, Figure, Port, digest, metadata, write_bundle
from tlpipe.export.golden import golden, keep
from tlpipe.export.onnx import add_metadata, onnx_model
from tlpipe.export.parity import ParityError
from tlpipe.export.spec import Export
from tlpipe.golden import write_golden
from tlpipe.preprocess.limits import SampleLimits
from tlpipe.tasks import facet
from tlpipe.train.model import About

Figures = dict[str, dict[str, Figure]]


def export_bundle(
    folder: Path,
    report: Path,
    model: nn.Module,
    about: About,
    samples: Any,
    metrics: Figures,
    spec: Export,
) -> Bundle:
    """Write `folder` (`model.onnx`, `bundle.json`, for texts what reads them) and `report`, passed or not.

    `samples` are what the task's `held_out` gives. An older bundle in `folder` goes first; the new one appears there
    whole, or not at all.

    Raises:
        ParityError: When the exported file does not compute what `model` does; no bundle is left.
        ConfigError: When the model does not fit in one file.
    """
    report.unlink(missing_ok=True)
    with _all_or_nothing(folder) as building:
        path = building / MODEL
        graph, limits = onnx_model(model, about, spec.opset), facet(about.task.kind, "export:limits")(samples)
        add_metadata(graph, metadata(about.temperature, about.preprocess, limits, about.fitted))
        path.write_bytes(graph.SerializeToString(deterministic=True))
        for name, file in samples.files.items():
            shutil.copyfile(file, building / name)
        samples, raw = keep(samples, spec.golden)
        cases: tuple[Case, ...] = facet(about.task.kind, "export:compare")(path, model, about, samples, spec)
        write_report(report, cases)
        require(cases, report)
        proof = golden(model, about, samples, raw, spec)
        if proof is not None:
            write_golden(building, proof)
        bundle = describe(path, about, metrics, cases, spec, limits)
        write_bundle(building, bundle)
    return bundle


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """A new folder that becomes `folder` when the block ends well, and is removed when it does not."""
    building = folder.with_name(f".{folder.name}.building")
    for old in (folder, building):
        shutil.rmtree(old, ignore_errors=not old.exists())
    building.mkdir(parents=True)
    try:
        yield building
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def write_report(path: Path, cases: Sequence[Case]) -> None:
    """`{"passed": bool, "problems": [sentence], "cases": [figures]}`."""
    problems = [problem for case in cases for problem in case.problems()]
    data = {"passed": not problems, "problems": problems, "cases": [case.model_dump(mode="json") for case in cases]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def require(cases: Sequence[Case], report: Path) -> None:
    """Raises ParityError when a case has a problem; the message has them all."""
    problems = [problem for case in cases for problem in case.problems()]
    if problems:
        raise ParityError(
            "the exported model does not compute what was trained:\n"
            + "".join(f"  {problem}\n" for problem in problems)
            + f"No bundle was written; every figure is in {report}. A difference a little over its tolerance can be "
            "allowed in params.yaml (export.tolerance, export.network_tolerance, export.agreement); a large one is "
            "a fault of the exporter or of onnxruntime: try another export.opset."
        )


def describe(
    path: Path, about: About, metrics: Figures, cases: Sequence[Case], spec: Export, limits: SampleLimits | None = None
) -> Bundle:
    """What `bundle.json` is to say of the ONNX file at `path`."""
    axes, layout = (("batch", "length"), "NLC") if about.task.tokens else (("batch",), "NC")
    shape = (*axes, len(about.labels))
    return Bundle(
        task=about.task.kind,
        labels=about.labels,
        inputs=facet(about.task.kind, "export:inputs")(about.preprocess),
        outputs=tuple(Port(name=name, dtype="float32", shape=shape, layout=layout) for name in about.task.outputs),
        preprocessing=about.preprocess,
        limits=limits or SampleLimits(),
        temperature=about.temperature,
        fitted=about.fitted,
        strategy=about.strategy,
        metrics=metrics,
        parity=tuple(cases),
        open_gate=tuple(spec.openings()),
        versions={
            "tlpipe": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opset": str(spec.opset),
        },
        sha256={file.name: digest(file) for file in sorted(path.parent.iterdir())},
    )
