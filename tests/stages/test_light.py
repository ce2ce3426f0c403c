"""Stages that compute with no network load none of what takes seconds to import."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchvision", "timm", "transformers", "mlflow", "sklearn", "onnx", "onnxruntime"}
LIGHT = ("code", "sample_data", "sample_text", "prepare", "baseline", "compare", "report")


@pytest.mark.parametrize("stage", LIGHT)
def test_stages_without_a_network_load_no_torch(stage: str) -> None:
    code = f"import sys, tlpipe.cli, tlpipe.stages.{stage}; print(*{HEAVY} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert said.stdout.split() == []
