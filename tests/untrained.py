"""Networks that look trained, what is known of them, and a bundle of theirs, for tests of the gate and the server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import torch

from tlpipe.bundle import MODEL, digest, read_bundle, write_bundle
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.strategies.plan import Plan
from tlpipe.train.model import About, Classifier


def make_about(**given: Any) -> About:
    """`given` are task, backbone, preprocess and labels, and what is to be other than here."""
    usual = {
        "strategy": "all_layers", "run_key": "0" * 64, "dropout": 0.1, "temperature": 1.7, "validation": {},
        "plan": Plan(strategy="all_layers", start="head", groups=(), phases=()),
        "total_parameters": 1, "trainable_parameters": 1,
    }  # fmt: skip
    return About(**{**usual, **given})


def make_noisy(about: About, noise: float = 0.3, seed: int = 0) -> Classifier:
    """Weights that tell samples apart, in eval mode."""
    torch.manual_seed(seed)
    encoder = about.backbone.encoder()
    made = Classifier(encoder, about.task.head(encoder.feature_dim, len(about.labels), about.dropout)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return made


def make_text_bundle(folder: Path, model: Classifier, about: About, held: Any) -> Path:
    """A bundle below `folder` that passed its gate on `held`; its tokenizer.json is there."""
    spec = Export(samples=len(held.raw), batch=4)
    export_bundle(folder / "bundle", folder / "parity.json", model, about, held, {}, spec)
    return folder / "bundle"


def fit_again(folder: Path, **fitted: float) -> None:
    """Give a bundle other `fitted` values, in its description and in the graph that has them too."""
    bundle, model = read_bundle(folder), onnx.load(folder / MODEL)
    kept = {each.key: each.value for each in model.metadata_props if each.key != "fitted"}
    onnx.helper.set_model_props(model, {**kept, "fitted": json.dumps(fitted, sort_keys=True)})
    onnx.save(model, folder / MODEL)
    sha256 = {**bundle.sha256, MODEL: digest(folder / MODEL)}
    write_bundle(folder, bundle.model_copy(update={"fitted": fitted, "sha256": sha256}))


def answer_without_torch(bundle: Path, item: Any) -> Any:
    """What the predictor says of `item` in a process in which neither torch nor transformers can be imported."""
    code = (
        "import json, sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        "from tlpipe.serve import Predictor; "
        "print(json.dumps(Predictor(sys.argv[1], device='cpu')([json.loads(sys.argv[2])])[0]))"
    )
    command = [sys.executable, "-c", code, str(bundle), json.dumps(item)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
