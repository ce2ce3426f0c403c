"""evaluate: one strategy's model on held-out and test samples; numbers, tables and pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import PARAMS, load
from tlpipe.data.packed import Packed, Split
from tlpipe.evaluate.judged import Judged, predictions_of
from tlpipe.evaluate.predict import held_out, inputs_of, predict
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import EVALUATED, write_tables
from tlpipe.progress import track
from tlpipe.tasks import facet
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.model import load_about, load_any


def main(strategy: str, root: Path = Path()) -> None:
    """Write reports/evaluation/<strategy>/. Raises ConfigError about what is wrong."""
    spec: Evaluate = load("evaluate", Evaluate, root / PARAMS)
    runtime: Runtime = load("runtime", Runtime, root / PARAMS)
    packed, trained = Packed.open(root / "data/packed"), root / "models/finetuned" / strategy
    machine = runtime.resolve(load_about(trained).backbone.hidden_size)
    predictions = _predictions(trained, packed, spec, machine)
    seeds = root / "models/seeds" / strategy
    others = [seeds / str(seed) for seed in json.loads((seeds / "seeds.json").read_text())]
    repeats = [_predictions(folder, packed, spec, machine) for folder in others]
    if not machine.team.first:
        return
    folder = root / "reports/evaluation" / strategy
    folder.mkdir(parents=True, exist_ok=True)
    metrics = write_tables(folder, [predictions, *repeats], spec)
    facet(packed.task, "figures:write_figures")(folder, predictions.of("test"), packed, spec)
    for split, values in metrics.items():
        print(f"{strategy} {split}: {', '.join(f'{name} {value:.4f}' for name, value in values.items())}")


def _predictions(folder: Path, packed: Packed, spec: Evaluate, machine: Machine) -> Judged:
    model, about = load_any(folder)
    inputs = inputs_of(folder, about, packed)
    parts: dict[Split, NDArray[Any]] = {"validation": held_out(folder, about)}
    for split in EVALUATED[1:]:
        batches = predict(model, about, packed, split, spec.batch_size, machine, inputs)
        total = len(machine.team.turns(range(0, len(packed.rows(split)), spec.batch_size)))
        mine = list(track(batches, f"{about.strategy}: {split}", total, "batches"))
        parts[split] = np.concatenate(machine.team.in_turn(mine))
    return predictions_of(packed.task).assemble(packed.pooled, parts, about.fitted)
