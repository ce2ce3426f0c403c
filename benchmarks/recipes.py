"""Figures of recipes that were run to the end, taken out of their project folders.

    tlpipe init --no-scm --recipe solar_cells demo && (cd demo && dvc repro)
    python -m benchmarks.recipes demo

Writes benchmarks/results/recipes.json: by recipe the command, the champion, and of each strategy the metric of the
comparison with its interval on test and the seconds of its training. A recipe that is there already is replaced.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.report.provenance import stamp
from tlpipe.config import read
from tlpipe.project.recipes import recipe, recipes
from tlpipe.yaml_text import load_yaml

OUT = Path(__file__).parent / "results/recipes.json"


def figures(folder: Path) -> dict[str, Any]:
    """What a finished project says of its strategies. Raises FileNotFoundError where it is not finished."""
    comparison = json.loads((folder / "reports/comparison.json").read_text())
    data = json.loads((folder / "reports/data.json").read_text())
    metric, name = comparison["metric"], _recipe(folder)
    baseline = folder / "reports/baseline.json"
    return {
        "command": f"tlpipe init --no-scm --recipe {name} {name} && cd {name} && dvc repro",
        "backbone": read(folder / "params.yaml")["backbone"],
        "labels": sum(data["counts"]["train"].values()),
        "test": sum(data["counts"]["test"].values()),
        "metric": metric,
        "champion": comparison["champion"],
        "strategies": {
            strategy: {**facts["test"][metric], "held_out": facts["validation"][metric], "seconds": facts["seconds"]}
            for strategy, facts in comparison["strategies"].items()
        },
        "test_differences": comparison["test_differences"],
        "baselines": json.loads(baseline.read_text()) if baseline.is_file() else {},
        "machine": f"{platform.processor() or platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads",
    }


def _recipe(folder: Path) -> str:
    """The recipe whose params are those of a project; the folder's name where they were changed."""
    params = read(folder / "params.yaml")
    return next((name for name in recipes() if load_yaml(recipe(name)) == params), f"{folder.name} (changed)")


def main() -> None:
    """Add the given projects to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="+", type=Path)
    known = json.loads(OUT.read_text()) if OUT.is_file() else {}
    for folder in parser.parse_args().projects:
        known[_recipe(folder)] = figures(folder)
    OUT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    command = "make demo demo-text && python -m benchmarks.recipes demo demo-text"
    stamp(OUT, command, f"{platform.machine()}, all threads")
    print(f"{OUT}: {', '.join(sorted(known))}")


if __name__ == "__main__":
    main()
