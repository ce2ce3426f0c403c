"""check: refuse what cannot work before any work, and write down the preprocessing that the backbone asks for."""

import sys
from pathlib import Path

from tlpipe.config import PARAMS, ConfigError
from tlpipe.params import load_params, outline
from tlpipe.plan_table import line
from tlpipe.strategies.counting import summary

OUT = Path("data/preprocess.json")


def main(params_path: Path = PARAMS, out: Path = OUT) -> int:
    """Exit code 0, or 2 after a message about what is wrong. Reads no data and no weights."""
    try:
        params = load_params(params_path)
        machine = params.runtime.resolve(params.backbone.hidden_size)
        text = params.task.preprocess(params.backbone.preprocess()).model_dump_json(indent=2) + "\n"
        machine.refuse_what_fails()
        lines = [f"{name}: {line(summary(plan, sizes))}" for name, (plan, sizes) in outline(params, 2).items()]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(*lines, machine.describe(), sep="\n")
    return 0
