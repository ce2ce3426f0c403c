"""Project for a benchmark: what `tlpipe init` writes, with other values of single params."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.config import PARAMS
from tlpipe.project.init import init
from tlpipe.project.recipes import DIGITS
from tlpipe.project.status import rewrite
from tlpipe.yaml_text import load_yaml


def digits(folder: Path, values: Mapping[str, Any], scm: bool = True) -> None:
    """Write the offline default to `folder`, with `values` by dotted key, and only the strategies that it lists."""
    init(folder, name=DIGITS, scm=scm)
    params = load_yaml((folder / PARAMS).read_text(encoding="utf-8"))
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    params["finetune"] = {name: params["finetune"][name] for name in params["strategies"]}
    (folder / PARAMS).write_text(json.dumps(params, indent=1), encoding="utf-8")
    rewrite(folder)
