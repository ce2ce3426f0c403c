"""What the advise stage has decided for the params as they are now, read from what it and DVC wrote down."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.advise.decision import Contender, Decision
from tlpipe.config import read

STAGES = ("tokenizer", "prepare", "pretrain", "embed", "advise")
"""Whose params decide the advice, the advise stage's own last."""
REPORT, DECISIONS, LOCK = Path("reports/advice.json"), Path("data/advice"), Path("dvc.lock")


def told(name: str, raw: Mapping[str, Any], root: Path = Path()) -> tuple[Contender, ...]:
    """The strategies that `finetune.<name>` may turn out to be, the best first; none without advice for `raw`.

    Args:
        name: An entry that waits for advice.
        raw: The params file as it is now. dvc.lock has the params that the advice was given for.
        root: The project's folder.
    """
    decision, lock = root / DECISIONS / f"{name}.json", root / LOCK
    if not all(path.is_file() for path in (root / REPORT, decision, lock)):
        return ()
    stages = read(lock).get("stages", {})
    seen = [stages.get(stage, {}).get("params", {}).get("params.yaml", {}) for stage in STAGES]
    now = all(raw.get(section) == value for params in seen for section, value in params.items())
    return Decision.read(decision).contenders if seen[-1] and now else ()


def outcome(contenders: tuple[Contender, ...]) -> str:
    """What `auto` does, in a line."""
    if not contenders:
        return "the advice comes with `dvc repro`; there is none for these params yet"
    if len(contenders) == 1:
        return f"{contenders[0].name}, as {REPORT} advises"
    laps = [f"{each.name} ({each.epochs} epochs at first)" if each.epochs else each.name for each in contenders]
    return f"a race of {', '.join(laps[:-1])} and {laps[-1]}, as {REPORT} advises"
