"""Progress of long work: a bar on a terminal, a line now and then elsewhere; both tell rate and time left."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
LINE_EVERY = 10.0
"""Seconds between lines when there is no terminal."""


def track(iterable: Iterable[T], description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield from `iterable` and show how far it is on stderr; `total` defaults to its length if it has one."""
    size = total if total is not None else _length(iterable)
    if sys.stderr.isatty():
        yield from _bar(iterable, description, size, unit)
    else:
        yield from _lines(iterable, description, size, unit)


def plain_console(stderr: bool = False) -> Console:
    """A console that prints what it is given: names of classes and files may look like Rich's markup or emoji codes."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def _length(iterable: Iterable[T]) -> int | None:
    return len(iterable) if isinstance(iterable, Sized) else None


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} {self.unit}/s" if task.speed else "")


def _bar(iterable: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=plain_console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _lines(iterable: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    begun = said = time.monotonic()
    done = 0
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - said >= LINE_EVERY:
            said = now
            print(_line(description, done, total, now - begun, unit), file=sys.stderr, flush=True)
    seconds = time.monotonic() - begun
    if seconds >= 2:
        print(f"{description}: {done:,} {unit} in {seconds:.1f} s", file=sys.stderr, flush=True)


def _line(description: str, done: int, total: int | None, seconds: float, unit: str) -> str:
    rate = done / seconds
    if not total:
        return f"{description}: {done:,} {unit}, {rate:,.1f} {unit}/s"
    left = (total - done) / rate
    share = f"{done:,}/{total:,} {unit} ({100 * done / total:.0f} %)"
    return f"{description}: {share}, {rate:,.1f} {unit}/s, {left:.0f} s left"
