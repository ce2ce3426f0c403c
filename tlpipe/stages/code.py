"""code: the fingerprint of each stage's code, by which the other stages notice that they must run again."""

import json
from pathlib import Path

from tlpipe.code.fingerprint import OUT, code_of, installed, read_code
from tlpipe.config import PARAMS, read
from tlpipe.stages.runner import STAGES


def main(params_path: Path = PARAMS, out: Path = OUT) -> None:
    """Write data/code.json; a file that is up to date is left alone. Imports none of the code that it reads."""
    params, stages = read(params_path), [name for name in STAGES if name != "code"]
    known = read_code(out)
    if known.get("installed") == installed(params) and set(known["stages"]) == set(stages):
        return
    content = code_of(stages, params)
    changed = [name for name, value in content["stages"].items() if known and known["stages"].get(name) != value]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {len(stages)} stages" + (f"; other code for {', '.join(changed)}" if changed else ""))
