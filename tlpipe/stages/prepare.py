"""prepare: read the raw samples once, find the bad ones, split, and pack."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tlpipe.code.fingerprint import stage_hash
from tlpipe.config import PARAMS, ConfigError, load, parse, read
from tlpipe.data.pack import pack
from tlpipe.data.spec import Data
from tlpipe.preprocess import AnyPreprocess
from tlpipe.progress import plain_console, track

PREPROCESS, PACKED, REPORT = Path("data/preprocess.json"), Path("data/packed"), Path("reports/data.json")
TOKENIZERS = Path("data/tokenizer")
CACHE = Path(".tlpipe/reuse/packed")
"""What the last run read: DVC deletes the stage's outs before it runs."""


def main(params: Path = PARAMS) -> int:
    """Exit code 0, or 2 after a message about what is wrong with the data or the settings."""
    try:
        data: Data = load("data", Data, params)
        code = stage_hash("prepare", read(params))
        report = pack(data, *_samples(), PACKED, track, tokenizer=TOKENIZERS, cache=CACHE, code=code)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _show(report)
    return 0


def _samples() -> tuple[str, AnyPreprocess]:
    """The kind of the task, and what is done to every sample of it."""
    if not PREPROCESS.is_file():
        raise ConfigError(f"{PREPROCESS} does not exist; the check stage writes it: run `dvc repro`")
    samples = json.loads(PREPROCESS.read_text())
    if "task" not in samples:
        raise ConfigError(f"{PREPROCESS} is another version's; run `dvc repro check` to write it anew")
    preprocess: AnyPreprocess = parse(samples["preprocess"], AnyPreprocess, str(PREPROCESS))
    return samples["task"], preprocess


def _show(report: dict[str, Any], most: int = 12) -> None:
    from rich.table import Table

    console = plain_console()
    shown = report["classes"] if len(report["classes"]) <= most else []
    table = Table("split", *shown, "samples", title=f"{PACKED}: {report['used']:,} of {report['found']:,} samples")
    for split, classes in report["counts"].items():
        table.add_row(split, *(f"{classes[label]:,}" for label in shown), f"{sum(classes.values()):,}")
    console.print(table)
    for reason, number in sorted(Counter(item["reason"].split(":")[0] for item in report["rejected"]).items()):
        console.print(f"rejected: {number:,} {reason.replace('_', ' ')}")
    near, ignored, aside = len(report["duplicates"]["near"]), report["ignored"], sum(report["left_aside"].values())
    for number, what in ((near, "groups of near duplicates"), (len(ignored), "ignored files"), (aside, "left aside")):
        if number:
            console.print(f"{number:,} {what}")
    for note in report["notes"]:
        console.print(f"note: {note}")
    console.print(f"imbalance {report['imbalance']:.2f}; details in {REPORT}")
