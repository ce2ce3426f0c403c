"""Mutated params files: `python -m benchmarks.abuse.params --count 10000`. None may end in a traceback or hang.

Half of the mutations change the data (values of other types and sizes, keys renamed, moved, removed), half the text
(characters and YAML's own signs put in, cut out, doubled). Case n is the same in every run.
"""

import argparse
import copy
import json
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.abuse import record
from benchmarks.abuse.outcome import Tally, attempt, quiet, shares
from tlpipe.cores import usable_cores
from tlpipe.params import load_params, outline

PART, PIECE = "params", 500
ROOT = Path(__file__).resolve().parents[2]
VALUES: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**40,
    -(10**12),
    0.5,
    1.0,
    1e-30,
    1e30,
    1e308,
    float("inf"),
    float("nan"),
    "",
    " ",
    "auto",
    "null",
    "no",
    "1e-3",
    "gpu",
    ".",
    "..",
    "/",
    "/dev/zero",
    "x" * 300,
    "y" * 70_000,
    "[/neg]",
    "a\nb",
    "\x00",
    "\x1b[2J",
    "caf\u00e9",
    "\u202e",
    "\U0001f600",
    [],
    [[]],
    [1, 1],
    ["a"] * 500,
    {},
    {"kind": "x"},
    {"": 1},
    {"kind": None},
    {1: 2},
    {None: 1},
    {True: 1},
    {"a": {"b": {"c": {"d": 1}}}},
    [None, {}],
    [{"kind": "letters"}],
)
SIGNS = (
    "!!bool ",
    "!!float",
    "!!python/object:os.system ",
    "!x ",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "[" * 60,
    "|\n",
    ">\n",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "#",
    "\t",
    "\x00",
    "\x07",
    "\u2028",
    "\ufeff",
    "'",
    '"',
    '"\\ud83d"',
    "@",
    "`",
    "~",
    "0x",
    "0o9",
    "1_",
    "1e",
    "2026-01-01",
    "2001-12-14t21:59:43.10-05:00",
    ".inf",
    "=",
    "\r",
    "\u0085",
    "9" * 5000,
)


def recipes() -> list[str]:
    """The texts that are mutated."""
    files = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]
    return [file.read_text(encoding="utf-8") for file in files]


def mutated(texts: list[str], number: int) -> str:
    """Case `number`."""
    generator = random.Random(number)
    text = generator.choice(texts)
    return _text(text, generator) if number % 2 else _data(text, generator)


def _text(text: str, generator: random.Random) -> str:
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(text) + 1)
        change = generator.randrange(5)
        if change == 0:
            text = text[:at] + generator.choice(SIGNS) + text[at:]
        elif change == 1:
            text = text[:at] + text[at + generator.randint(1, 60) :]
        elif change == 2:
            text = text[:at] + text[at : at + 200] * 2 + text[at + 200 :]
        elif change == 3:
            text = (
                text[:at] + chr(generator.choice((generator.randrange(128), generator.randrange(0xD800)))) + text[at:]
            )
        else:
            lines = text.split("\n")
            line = generator.randrange(len(lines))
            lines[line] = generator.choice((" ", "    ", "")) + lines[line].lstrip()
            text = "\n".join(lines)
    return text


@cache
def _loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def _data(text: str, generator: random.Random) -> str:
    data = copy.deepcopy(_loaded(text))
    for _ in range(generator.randint(1, 3)):
        places = list(_places(data))
        container, key = generator.choice(places)
        change = generator.randrange(6)
        if change <= 2:
            container[key] = copy.deepcopy(generator.choice(VALUES))
        elif change == 3:
            other, name = generator.choice(places)
            container[key] = copy.deepcopy(other[name])
        elif change == 4:
            container.pop(key)
        elif isinstance(container, dict):
            container[generator.choice((f"{key}x", str(key).upper(), "", "kind", str(key)[1:]))] = container.pop(key)
    return json.dumps(data, allow_nan=True, default=str).replace("NaN", ".nan").replace("Infinity", ".inf")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _try(path: Path) -> None:
    params = load_params(path)
    params.task.preprocess(params.backbone.preprocess()).model_dump_json()
    outline(params, 2)


def _work(cases: range) -> Tally:
    quiet()
    texts, tally = recipes(), Tally()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        for text in texts:  # what a first file of a kind imports is not the case's time
            path.write_text(text, encoding="utf-8")
            _try(path)
        for number in cases:
            path.write_bytes(mutated(texts, number).encode("utf-8", "surrogatepass"))
            attempt(tally, f"params {number}", lambda: _try(path))
    return tally


def cases(first: int, count: int, workers: int) -> Tally:
    """Outcomes of `count` cases from number `first` on."""
    total = Tally()
    parts = [range(part.start + first, part.stop + first, part.step) for part in shares(count, workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for tally in pool.imap_unordered(_work, parts):
            total.outcomes += tally.outcomes
            total.faults += tally.faults
    return total


def run(count: int, seconds: float = 0) -> dict[str, Any] | None:
    """Outcomes of the cases 0 to `count`; see `record.in_pieces`."""
    workers = min(4, usable_cores())
    return record.in_pieces(PART, count, seconds, PIECE, lambda first, size: cases(first, size, workers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=0)
    wanted = parser.parse_args()
    sys.exit(record.end(PART, run(wanted.count, wanted.seconds)))
