"""Fit the advisor's rules on the grid's fitting half, and say how well they do on targets that were left out.

    python -m benchmarks.advisor.fit OUT    # writes tlpipe/advise/experience.json

Only targets that `benchmarks.advisor.targets` marks `fitted` are read here.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.advisor.cell import read
from benchmarks.advisor.grid import FROZEN
from benchmarks.advisor.targets import TARGETS
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import FILE, TERMS, D, Experience, Rule, error_of, terms
from tlpipe.advise.probe import Measured

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
LONELY = 0.5
"""Sigma of a rule whose targets are too few to leave one out."""
Cell = tuple[str, int, int]
"""Target, samples a class, seed."""
Floats = NDArray[np.float64]
PROBES: dict[str, Literal["last", "best"]] = {"head_only": "last"}
"""What a kind's error is measured against; all others against the better probe."""
ABOVE = {"all_depth_tuning": "all_depth_head"}
"""Kinds that may end as another, and which."""
OUTSIDE = {"bit", "all_layers_ends"}
"""What the advisor does not know."""


class Outcome(NamedTuple):
    """What one strategy reached in one cell: the point of its sweep that validation chose."""

    validation: float
    test: float
    seconds: float
    """Of one training, the mean over the sweep."""
    curve: tuple[float, ...]
    """Validation accuracy by epoch."""
    mixed: bool = False
    """Whether it ends with an interpolation, which its epochs say little of."""
    halves: tuple[float, ...] = ()
    """Test accuracy on two halves of the test split, where they were recorded."""


def outcomes(folder: Path) -> dict[Cell, dict[str, Outcome]]:
    """By cell and strategy; strategies whose sweep is not complete are left out."""
    found: dict[tuple[Cell, str], list[dict[str, Any]]] = defaultdict(list)
    for record in read(folder / "cells.jsonl"):
        found[(record["target"], record["size"], record["seed"]), record["strategy"]].append(ended(record))
    cells: dict[Cell, dict[str, Outcome]] = defaultdict(dict)
    for (cell, strategy), points in found.items():
        if len(points) < (1 if strategy in FROZEN or strategy == "bit" else 2):
            continue
        best = max(points, key=lambda point: (point["validation"], -point["validation_loss"]))
        seconds = float(np.mean([point["seconds"] for point in points]))
        curve = tuple(best.get("curve", ()))
        halves = tuple(best.get("test_halves", ()))
        cells[cell][strategy] = Outcome(best["validation"], best["test"], seconds, curve, "ends" in best, halves)
    return cells


def ended(record: dict[str, Any]) -> dict[str, Any]:
    """A training whose other ends were recorded, as `wise_ft` ends it."""
    if "ends" not in record:
        return record
    end = record["ends"]["best"]
    alpha = end["loss"]
    accuracy, loss = next(each[1:] for each in end["tried"] if each[0] == alpha)
    test = end["test"][str(alpha)]
    seconds = record["seconds"] + record["ends"]["interpolation"]
    mixed = {"validation": accuracy, "validation_loss": loss, "test": test, "test_halves": (), "seconds": seconds}
    return {**record, **mixed}


def evidences(folder: Path) -> dict[Cell, tuple[Evidence, dict[str, Any]]]:
    """The evidence of each cell, and the whole line."""
    lines = read(folder / "evidence.jsonl")
    return {(line["target"], line["size"], line["seed"]): (_evidence(line["evidence"]), line) for line in lines}


def _evidence(plain: dict[str, Any]) -> Evidence:
    def measured(accuracy: float) -> Measured:
        return Measured(accuracy, math.sqrt(max(accuracy * (1 - accuracy), 0.01) / plain["probed"]), plain["probed"])

    return Evidence(
        samples=plain["samples"],
        classes=plain["classes"],
        parameters=round(plain["parameters_per_sample"] * plain["samples"]),
        probed=plain["probed"],
        depths={group: measured(accuracy) for group, accuracy in plain["depths"].items()},
        all_depths=measured(plain["all_depths"]["accuracy"]),
        random=measured(plain["random_weights"]["accuracy"]),
        linearised=None if plain["linearised"] is None else measured(plain["linearised"]),
        shift=plain["input_shift"],
        curve=(),
        forward=0.0,
        examples=plain["samples"],
    )


def ratio(outcome: Outcome, base: Measured) -> float:
    """What a rule predicts: the logarithm of the test error over the probe's."""
    return math.log((1 - outcome.test + D) / (error_of(base) + D))


def ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """Weights (T,) whose first, the constant, is hardly penalised."""
    strength = np.diag([0.1, *[penalty] * (x.shape[1] - 1)])
    return np.asarray(np.linalg.solve(x.T @ x + strength, x.T @ y), np.float64)


def left_out(x: Floats, y: Floats, groups: Sequence[str], penalty: float) -> float:
    """Root mean square error on targets that were left out, one after the other."""
    names, misses = np.array(groups), []
    for name in sorted(set(groups)):
        held = names == name
        misses.append(np.mean((x[held] @ ridge(x[~held], y[~held], penalty) - y[held]) ** 2))
    return float(np.sqrt(np.mean(misses)))


def fit_rule(
    kind: str, cells: dict[Cell, dict[str, Outcome]], known: dict[Cell, tuple[Evidence, dict[str, Any]]]
) -> tuple[Rule, str]:
    """One kind's rule, and a line on it.

    A frozen kind is measured: all that is left to learn is how probes differ from heads, and that from both of them
    together. So the all-depth head, which may leave the lower depths aside, is expected to be no worse than the other.
    """
    pairs = [
        (cell, each)
        for cell in sorted(cells)
        for each in (FROZEN if kind in FROZEN else (kind,))
        if each in cells[cell] and cell in known
    ]
    used = [cell for cell, _ in pairs]
    y = np.array([ratio(cells[cell][each], _base(known[cell][0], each)) for cell, each in pairs])
    x = np.array([terms(known[cell][0]) for cell in used])
    if kind in FROZEN:
        x[:, 2:] = 0
    return _fitted(kind, x, y, [cell[0] for cell in used])


def _fitted(kind: str, x: Floats, y: Floats, targets: Sequence[str]) -> tuple[Rule, str]:
    """A ridge regression whose penalty does best on targets that are left out."""
    alone = len(set(targets)) < 2
    losses = {penalty: LONELY if alone else left_out(x, y, targets, penalty) for penalty in PENALTIES}
    penalty = min(losses, key=lambda each: losses[each])
    weights = ridge(x, y, penalty)
    said = (
        f"{kind:16s} {len(y)} cells of {len(set(targets))} targets, penalty {penalty:g}, left-out rms "
        f"{losses[penalty]:.3f} (a constant alone: {_constant(y, targets):.3f}), "
        f"{dict(zip(TERMS, weights.round(3).tolist(), strict=True))}"
    )
    rounded = tuple(round(float(weight), 4) for weight in weights)
    rule = Rule(probe=PROBES.get(kind, "best"), weights=rounded, sigma=round(losses[penalty], 4), cells=len(y))
    return rule, said


def fit_above(
    kind: str, below: str, rule: Rule, cells: dict[Cell, dict[str, Outcome]],
    known: dict[Cell, tuple[Evidence, dict[str, Any]]],
) -> tuple[Rule, str]:  # fmt: skip
    """The rule of a kind that may end as `below`: that one's, and their difference, which is small.

    Fitted by itself it would carry the noise of `below` a second time.
    """
    used = [cell for cell in sorted(cells) if {kind, below} <= set(cells[cell]) and cell in known]
    bases = [_base(known[cell][0], kind) for cell in used]
    pairs = zip(used, bases, strict=True)
    y = np.array([ratio(cells[cell][kind], base) - ratio(cells[cell][below], base) for cell, base in pairs])
    fitted, said = _fitted(kind, np.array([terms(known[cell][0]) for cell in used]), y, [cell[0] for cell in used])
    weights = tuple(round(own + more, 4) for own, more in zip(rule.weights, fitted.weights, strict=True))
    sigma = round(math.hypot(rule.sigma, fitted.sigma), 4)
    return Rule(probe="best", weights=weights, sigma=sigma, cells=len(used)), f"{said} over {below}"


def _base(evidence: Evidence, kind: str) -> Measured:
    return evidence.last if PROBES.get(kind) == "last" else evidence.best


def fit_all(
    cells: dict[Cell, dict[str, Outcome]], known: dict[Cell, tuple[Evidence, dict[str, Any]]]
) -> tuple[Experience, list[str]]:
    """The rules of every kind that the cells have, and a line on each."""
    kinds = sorted({kind for found in cells.values() for kind in found} - OUTSIDE)
    found = {kind: fit_rule(kind, cells, known) for kind in kinds if kind not in ABOVE}
    for kind, below in ABOVE.items():
        if kind in kinds:
            found[kind] = fit_above(kind, below, found[below][0], cells, known)
    targets = tuple(sorted({cell[0] for cell in cells if cell in known}))
    experience = Experience(targets=targets, rules={kind: rule for kind, (rule, _) in found.items()})
    return experience, [said for _, said in found.values()]


def allowed(folder: Path) -> tuple[dict[Cell, dict[str, Outcome]], dict[Cell, tuple[Evidence, dict[str, Any]]]]:
    """Outcomes and evidence of the targets that may be fitted on."""
    names = {target.name for target in TARGETS if target.fitted}
    cells = {cell: found for cell, found in outcomes(folder).items() if cell[0] in names}
    return cells, {cell: found for cell, found in evidences(folder).items() if cell[0] in names}


def _constant(y: Floats, targets: Sequence[str]) -> float:
    return LONELY if len(set(targets)) < 2 else left_out(np.ones((len(y), 1)), y, targets, 1.0)


def main() -> None:
    """Write the rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--write", type=Path, default=FILE)
    asked = parser.parse_args()
    experience, lines = fit_all(*allowed(asked.out))
    print(*lines, sep="\n")
    asked.write.write_text(experience.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
