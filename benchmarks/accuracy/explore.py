"""Choices on the fitting sets: tlpipe's Trainer and the plain loop at equal labels, in many settings.

    python -m benchmarks.accuracy.explore OUT QUEUE

A line of QUEUE is `set labels draw size setting,setting`. A line of OUT/cells.jsonl a training; what is there is not
trained again. One process, one thread. A setting is
`key=value` pairs of `loops.Setting` joined by `+`, `base` for none of them, `auto` for what the recipes' `all_layers`
does, `soup:` of one, `head_only`, `all_depth_head`, `plain` (the loop as given), or `peer:NAME`.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.accuracy.loops import Cell, Setting, plain
from benchmarks.accuracy.sets import FOLDS, WEIGHTS, Images, files_of, folder_of, images_of
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.loop import Trainer


def setting(text: str) -> Setting:
    """`lr=3e-4+augment=recipe` as a Setting."""
    kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(Setting)}
    given: dict[str, Any] = {}
    for pair in text.split("+") if text not in ("base", "auto") else ():
        key, value = pair.split("=")
        given[key] = kinds[key](value)
    return Setting(**{"auto": text == "auto", **given})


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("queue", type=Path)
    parser.add_argument("--every", type=int, default=0, help="test after so many epochs, too")
    asked = parser.parse_args()
    machine = Runtime(device="cpu", precision="fp32", threads=1).resolve()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    failed: set[tuple[Any, ...]] = set()
    while (at := waiting(asked.queue, asked.out / "cells.jsonl", failed)) is not None:
        try:
            run(at, asked, machine)
        except PeerFailed as error:
            failed.add(key(at))
            print(f"{at}: {error}", file=sys.stderr, flush=True)


class PeerFailed(Exception):  # noqa: N818
    """A peer ended with an error, and the end of what it said."""


def waiting(queue: Path, file: Path, failed: set[tuple[Any, ...]]) -> dict[str, Any] | None:
    """The first line of the queue that is not trained yet; the queue may be changed at any time."""
    done = failed | {key(json.loads(line)) for line in (file.read_text().splitlines() if file.exists() else [])}
    for line in queue.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, labels, draw, size, settings = line.split()
        for each in settings.split(","):
            at = {"set": name, "labels": int(labels), "draw": int(draw), "size": int(size), "setting": each}
            if key(at) not in done:
                return at
    return None


def run(at: dict[str, Any], asked: argparse.Namespace, machine: Machine) -> None:
    """One training, written down."""
    cell = cell_of(at["set"], at["labels"], at["draw"], at["size"], asked.out, machine)
    begun, clock = time.process_time(), time.perf_counter()
    record = {**at, "samples": cell.packed.labelled, **measure(cell, at, asked)}
    record["cpu"], record["wall"] = round(time.process_time() - begun, 1), round(time.perf_counter() - clock, 1)
    with (asked.out / "cells.jsonl").open("a") as lines:
        lines.write(json.dumps(record) + "\n")
    print(json.dumps(record), flush=True)


@lru_cache(maxsize=8)
def cell_of(name: str, labels: int, draw: int, size: int, out: Path, machine: Machine) -> Cell:
    """A draw of labels with its frozen features, kept for the next training."""
    return Cell(images_of(name, size, out), labels, draw, machine, out)


def key(record: dict[str, Any]) -> tuple[Any, ...]:
    """What a training is known by."""
    return tuple(record[name] for name in ("set", "labels", "draw", "size", "setting"))


def measure(cell: Cell, at: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """What one training ends with on test."""
    text = at["setting"]
    if text == "plain":
        return given_loop(cell, at, asked.out)
    if text.startswith("peer:"):
        return peer(text.removeprefix("peer:"), at, cell.images, asked.out)
    if text in ("head_only", "all_depth_head"):
        return cell.frozen(text)
    if text.startswith("soup:"):
        return soup(cell, setting(text.removeprefix("soup:")))
    trainer = cell.trainer(setting(text))
    curve: dict[int, dict[str, float]] = {}
    losses = []
    for epoch in epochs_of(trainer):
        losses.append(round(epoch.train_loss, 4))
        if asked.every and epoch.epoch % asked.every == 0:
            curve[epoch.epoch] = cell.figures(cell.logits(trainer.model))
    shutil.rmtree(cell.work / "cache", ignore_errors=True)
    return {**cell.figures(cell.logits(trainer.model)), "curve": curve, "train_loss": losses[-1], "epochs": len(losses)}


def epochs_of(trainer: Trainer) -> Iterator[Epoch]:
    """Train to the end; after each epoch the model is that epoch's."""
    return (event for event in trainer.run() if isinstance(event, Epoch))


class Member(NamedTuple):
    """One training of a soup."""

    weights: dict[str, Tensor]
    logits: Tensor
    """Of the test split."""
    held_out: Tensor
    """Logits of the samples of its fold; of none for a refit."""
    labelled: float
    """Loss on all labelled samples, evaluation view."""


def soup(cell: Cell, chosen: Setting) -> dict[str, Any]:
    """K fold trainings and a refit on everything: test of each and of averages (`test` = the folds')."""
    trained = [_member(cell, chosen, part) for part in range(FOLDS)]
    refit = _member(cell, chosen, None)
    held_out = cell.held_out(torch.cat([member.held_out for member in trained]))
    mixed = torch.stack([member.logits.log_softmax(1) for member in trained]).exp().mean(0).log()
    model = cell.start(chosen)
    model.load_state_dict(average([member.weights for member in trained]))
    labelled, folds = cell.labelled_loss(model), cell.figures(cell.logits(model))
    model.load_state_dict(average([*(member.weights for member in trained), refit.weights]))
    return {
        **folds, "members": [cell.figures(member.logits)["test"] for member in trained],
        "ensemble": cell.figures(mixed), "refit": cell.figures(refit.logits), "six": cell.figures(cell.logits(model)),
        **held_out, "labelled": {"soup": labelled, "members": [m.labelled for m in trained]},
    }  # fmt: skip


def _member(cell: Cell, chosen: Setting, part: int | None) -> Member:
    trainer, held_out = cell.trainer(chosen, part), torch.empty(0)
    for _ in epochs_of(trainer):
        pass
    model = trainer.model
    shutil.rmtree(cell.work / "cache", ignore_errors=True)
    if part is not None:
        held_out = cell.logits(model, cell.packed.parts[part], "validation")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    return Member(weights, cell.logits(model), held_out, cell.labelled_loss(model))


def average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several state dicts, running statistics and all."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        for name, value in states[0].items()
    }


def peer(name: str, at: dict[str, Any], images: Images, out: Path) -> dict[str, Any]:
    """A peer on the same labelled images, in its own environment (TLPIPE_PEERS names its python)."""
    folder = out / "draws" / f"{at['set']}-{at['labels']}-{at['draw']}"
    if not folder.exists():
        lay_out(at, images, out, folder)
    python = os.environ.get("TLPIPE_PEERS", sys.executable)
    sizes = ["--size", str(at["size"]), "--seed", str(at["draw"])]
    command = [python, "-m", "benchmarks.accuracy.peers", name, str(folder), str(WEIGHTS), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerFailed(done.stderr[-2000:])
    return {"test": json.loads(done.stdout.splitlines()[-1])["test"]}


def lay_out(at: dict[str, Any], images: Images, out: Path, folder: Path) -> None:
    """A folder with the drawn images as train/ and all test images as test/, both as links."""
    source = folder_of(at["set"], out)
    files = files_of(source / "train")
    for row in images.rows(at["labels"], at["draw"]):
        target = folder / "train" / files[row].parent.name / files[row].name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(files[row].resolve())
    (folder / "test").symlink_to((source / "test").resolve())


def given_loop(cell: Cell, at: dict[str, Any], out: Path) -> dict[str, Any]:
    """plain.py as given, in this process; what it prints is what it found."""
    module = plain()
    said, argv = io.StringIO(), sys.argv
    options = ("labels", "draw", "size")
    given = [text for name in options for text in (f"--{name}", str(at[name]))]
    sys.argv = ["plain.py", str(folder_of(cell.images.name, out)), str(WEIGHTS), *given]
    try:
        with contextlib.redirect_stdout(said):
            module.main()
    finally:
        sys.argv = argv
    return {"test": json.loads(said.getvalue().splitlines()[-1])["test"]}


if __name__ == "__main__":
    main()
