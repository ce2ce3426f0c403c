"""The code that MLflow keeps with the trained network."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_mlflow_has_nothing_to_say_about_its_hints():
    code = (
        "import warnings; warnings.simplefilter('ignore'); import mlflow.pyfunc\n"
        "warnings.simplefilter('error'); import tlpipe.tracking.pyfunc_model"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
