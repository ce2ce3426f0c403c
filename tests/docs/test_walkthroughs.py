"""Code on the pages about extending: it runs, and does what the page says."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tlpipe.backbones.own import build_own
from tlpipe.bundle import MODEL, Bundle, BundleError, Case, Port, digest, write_bundle
from tlpipe.config import ConfigError, parse
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.strategies.plan import HEAD

DOCS = Path(__file__).resolve().parents[2] / "docs"


def example(page: str) -> str:
    """The first block of Python on a page."""
    match = re.search(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert match, page
    return match[1]


def run(page: str) -> dict[str, Any]:
    """The names that the example defines, as a module that imports can find."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(compile(example(page), page, "exec"), space)
    return space


def test_the_backbone_can_be_cut_and_frozen() -> None:
    backbone = run("adding-a-backbone.md")["Tiny"]()
    encoder, provenance = backbone.pretrained()
    inputs = torch.from_numpy(backbone.preprocess().example()).float()
    with torch.inference_mode():
        whole = encoder.eval()(inputs)
        assert whole.shape == (len(inputs), encoder.feature_dim)
        for cut in encoder.cuts:
            assert torch.equal(encoder.run(encoder.run(inputs, 0, cut), cut), whole)
    encoder.freeze(["first"])
    trains = {group: [p.requires_grad for _, p in encoder.parameters_of(group)] for group in encoder.groups}
    assert trains["second"]
    assert all(trains["second"])
    assert not any(trains["first"])
    assert set(provenance) == {"origin", "sha256", "skipped"}


def test_the_strategy_plans_the_middle_group_and_the_head() -> None:
    spec = run("adding-a-strategy.md")["MiddleOnly"]
    strategy = parse({"kind": "middle_only", "lr": 0.01, "epochs": 3}, spec, "finetune.middle")
    (phase,) = strategy.plan(["low", "middle", "high"]).phases
    assert dict(phase.rates) == {"low": None, "middle": 0.01, "high": None, HEAD: 0.01}
    assert phase.epochs == 3
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        parse({"kind": "middle_only", "epoch": 3}, spec, "finetune.middle")


def described(folder: Path) -> Path:
    """A bundle whose description fits its files."""
    folder.mkdir()
    (folder / MODEL).write_bytes(b"a graph")
    case = Case(
        name="packed", batch=8, samples=10, finite=True, probabilities=1e-6, logits=1e-6, tolerance=1e-4,
        logits_tolerance=1e-4, same=1.0, ties=0.0, agreement=1.0,
    )  # fmt: skip
    bundle = Bundle(
        task="image_classification",
        labels=("ant", "bee"),
        inputs=(Port(name="image", dtype="uint8", shape=("batch", "height", "width", 3), layout="NHWC"),),
        outputs=(Port(name="probabilities", dtype="float32", shape=("batch", 2), layout="NC"),),
        preprocessing=ImagePreprocess(),
        temperature=1.0,
        strategy="head_only",
        metrics={},
        parity=(case,),
        versions={},
        sha256={MODEL: digest(folder / MODEL)},
    )
    write_bundle(folder, bundle)
    return folder


def test_the_export_format_is_written_once_from_a_verified_bundle(tmp_path: Path) -> None:
    write: Callable[[Path, Path], Path] = run("adding-an-export-format.md")["write_plain"]
    bundle = described(tmp_path / "bundle")
    out = write(tmp_path / "out", bundle)
    assert (out / MODEL).read_bytes() == (bundle / MODEL).read_bytes()
    assert json.loads((out / "labels.json").read_text()) == ["ant", "bee"]
    with pytest.raises(ConfigError, match="exists"):
        write(tmp_path / "out", bundle)
    (bundle / MODEL).write_bytes(b"other")
    with pytest.raises(BundleError):
        write(tmp_path / "new", bundle)


def test_the_own_architecture_is_cut_into_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_the_page.py").write_text(example("own-architecture.md"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    model, encoder = build_own("nets_of_the_page:small", 32)
    assert len(encoder.groups) == 2
    assert torch.equal(model(torch.ones(1, 3, 32, 32)), model[2](encoder(torch.ones(1, 3, 32, 32))))
