"""check: refuse what cannot work before any work, and write down what later stages need of more than one section."""

import json
import sys
from pathlib import Path

from tlpipe.config import PARAMS, ConfigError
from tlpipe.params import load_params, outline
from tlpipe.plan_table import line
from tlpipe.strategies.counting import summary

OUT = Path("data/preprocess.json")
MONITOR = "monitor.json"
"""Beside it: the figure that epochs are compared by, so that another `compare.metric` trains only what goes by it."""


def main(params_path: Path = PARAMS, out: Path = OUT) -> int:
    """Exit code 0, or 2 after a message about what is wrong. Reads no data and no weights.

    Writes the task with the preprocessing that the backbone asks for, and what `training.monitor` is.
    """
    try:
        params = load_params(params_path)
        machine = params.runtime.resolve(params.backbone.hidden_size)
        preprocess = params.task.preprocess(params.backbone.preprocess()).model_dump(mode="json")
        machine.refuse_what_fails()
        lines = [f"{name}: {line(summary(plan, sizes))}" for name, (plan, sizes) in outline(params, 2).items()]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    out.parent.mkdir(parents=True, exist_ok=True)
    samples = {"task": params.task.kind, "preprocess": preprocess}
    out.write_text(json.dumps(samples, indent=2) + "\n", encoding="utf-8")
    monitor = params.compare.metric if params.training.monitor == "auto" else params.training.monitor
    out.with_name(MONITOR).write_text(json.dumps({"monitor": monitor}) + "\n", encoding="utf-8")
    print(*lines, machine.describe(), sep="\n")
    return 0
