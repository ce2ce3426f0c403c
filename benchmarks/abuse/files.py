"""Hostile and damaged files: `python -m benchmarks.abuse.files --count 2000`. None may end in a traceback or hang.

Good files of every kind that is read (images, tables, questions, tagged sentences, weights) with bytes changed, cut,
doubled and put in, and a pipe, a device and a folder in the place of each. Case n is the same in every run.
"""

import argparse
import io
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

from benchmarks.abuse import record
from benchmarks.abuse.outcome import Tally, attempt
from tlpipe.backbones.weights import read_state
from tlpipe.data.conll import Conll
from tlpipe.data.squad import Squad
from tlpipe.data.text_table import TextTable
from tlpipe.files import read_file
from tlpipe.preprocess.decode import decode

PART, PIECE = "files", 100
PIXELS = 10_000_000
KINDS = ("pipe", "zero", "null", "folder", "nothing", "itself")
"""What stands in the place of a file."""
Reader = Callable[[Path], object]
WORDS = (
    b"NaN",
    b"null",
    b"[" * 300,
    b'"\\ud83d"',
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b'"',
    b",",
    b";",
    b"\t",
    b"1e999",
    b"{",
    b"}",
)


def _text(path: Path) -> object:
    return TextTable(path=str(path.parent), table=path.name).scan()


def _questions(path: Path) -> object:
    return Squad(path=str(path.parent), file=path.name).scan()


def _sentences(path: Path) -> object:
    return Conll(path=str(path.parent), file=path.name).scan()


def _image(path: Path) -> object:
    return decode(read_file(path), PIXELS)


def good(folder: Path) -> dict[str, tuple[bytes, Reader]]:
    """A file of each kind by name, and what reads it."""
    files: dict[str, tuple[bytes, Reader]] = {}
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    for kind, ending in (
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("GIF", "gif"),
        ("TIFF", "tif"),
        ("WEBP", "webp"),
        ("PPM", "ppm"),
    ):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        files[f"a.{ending}"] = buffer.getvalue(), _image
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(20)]
    files["a.csv"] = ("text,label\n" + "".join(f'"{r["text"]}",{r["label"]}\n' for r in rows)).encode(), _text
    files["a.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode(), _text
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, folder / "a.parquet")
    with pyarrow.ipc.new_stream(folder / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    answers = [{"text": "Rome", "answer_start": 0}]
    asked = [{"id": "q", "question": "Where?", "answers": answers}]
    files["a.json"] = json.dumps({"data": [{"paragraphs": [{"context": "Rome", "qas": asked}]}]}).encode(), _questions
    files["a.conll"] = ("-DOCSTART-\n\nEU B-ORG\nsays O\n\n" * 5).encode(), _sentences
    torch.save({"state_dict": {"w": torch.ones(4, 4)}}, folder / "a.pth")
    save_file({"w": torch.ones(4, 4)}, folder / "a.safetensors")
    for name, reader in (
        ("a.parquet", _text),
        ("a.arrow", _text),
        ("a.pth", read_state),
        ("a.safetensors", read_state),
    ):
        files[name] = (folder / name).read_bytes(), reader
    return files


def damaged(content: bytes, generator: random.Random) -> bytes:
    """`content` with bytes changed, cut, doubled, or words put in."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, 6)):
        at, change = generator.randrange(len(changed) + 1), generator.randrange(5)
        if change == 0 and changed:
            changed[at % len(changed)] = generator.randrange(256)
        elif change == 1:
            del changed[at : at + generator.randint(1, 40)]
        elif change == 2:
            changed[at:at] = generator.choice(WORDS)
        elif change == 3:
            changed[at:at] = changed[at : at + 100]
        else:
            del changed[max(1, at) :]
    return bytes(changed)


def cases(first: int, count: int) -> Tally:
    """Outcomes of the cases from number `first` on: each tenth is no file at all, the others are damaged ones."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = good(root)
        names = sorted(files)
        for number in range(first, first + count):
            if number % 10 == 9:
                kind, name = KINDS[number // 10 % len(KINDS)], names[number // 10 // len(KINDS) % len(names)]
                _replace(root / name, kind)
            else:
                kind, name = "damaged", names[number % len(names)]
                _replace(root / name, "nothing")
                (root / name).write_bytes(damaged(files[name][0], random.Random(number)))
            attempt(tally, f"file {number}: {kind} {name}", partial(files[name][1], root / name))
    return tally


def run(count: int, seconds: float = 0) -> dict[str, Any] | None:
    """Outcomes of the cases 0 to `count`; see `record.in_pieces`."""
    return record.in_pieces(PART, count, seconds, PIECE, cases)


def _replace(path: Path, kind: str) -> None:
    """Put something that is no file in the place of `path`."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("zero", "null"):
        path.symlink_to(f"/dev/{kind}")
    elif kind == "folder":
        path.mkdir()
    elif kind == "itself":
        path.symlink_to(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0)
    wanted = parser.parse_args()
    sys.exit(record.end(PART, run(wanted.count, wanted.seconds)))
