"""baseline: what methods without a pretrained network reach on the same splits, for the report."""

from pathlib import Path

from tlpipe import config
from tlpipe.data.packed import Packed
from tlpipe.evaluate.baseline import baselines
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import write_json

PACKED, OUT = Path("data/packed"), Path("reports/baseline.json")


def main() -> None:
    """Write reports/baseline.json."""
    spec: Evaluate = config.load("evaluate", Evaluate)
    found = baselines(Packed.open(PACKED), spec.resamples, spec.seed)
    write_json(OUT, found)
    for name, figures in found.items():
        metric = next(iter(figures["validation"]))
        print(f"{name}: {metric} validation {figures['validation'][metric]:.4f}, "
              f"test {figures['test'][metric]['value']:.4f}")  # fmt: skip
    if not found:
        print("no baselines for such samples")
