"""What a journal says, read as one consistent picture: doubles out, later tags over earlier ones."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlpipe.tracking.outbox import JOURNAL

PARENT_KEY = "tlpipe.parent_key"
"""Tag with the run key of the run below which MLflow shows this one: the comparison that it was trained for."""
CHAMPION = "champion"
"""Tag of a strategy's run: whether it won the comparison that it belongs to, yes or no."""


@dataclass(frozen=True)
class Point:
    """One metric value; `time` in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int


@dataclass
class Snapshot:
    """Everything a journal has told so far. `feed` adds a record; reading the same file gives the same snapshot."""

    run_key: str = ""
    name: str = ""
    experiment: str = ""
    started: int = 0
    ended: int | None = None
    """Time of the last `end`, milliseconds; None while the run goes on."""
    status: str = "RUNNING"
    updated: int = 0
    """Time of the last record, milliseconds."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    finals: list[Point] = field(default_factory=list)
    """The summary figures, in the order told; a changed figure is told again with a later time."""
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    """Name -> sha256 of the file below `files/`."""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    champion: dict[str, Any] = field(default_factory=dict)
    """The comparison that the run won last: evidence, metric, value, higher_is_better, of; empty if it never did."""
    size: int = 0
    """Bytes of the journal that are in this snapshot: whole lines only."""
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def feed(self, record: dict[str, Any]) -> None:
        """Take in one record."""
        self.updated = max(self.updated, record["time"])
        getattr(self, f"_{record['kind']}")(record)

    @property
    def latest(self) -> dict[str, float]:
        """The summary figures that hold."""
        return {point.key: point.value for point in self.finals}

    def has(self, key: str, step: int) -> bool:
        """True when the curve `key` has a point at `step`."""
        return (key, step) in self._seen

    def _start(self, record: dict[str, Any]) -> None:
        self.run_key, self.name, self.experiment = record["run_key"], record["name"], record["experiment"]
        self.started = self.started or record["time"]
        self.ended, self.status = None, "RUNNING"

    def _params(self, record: dict[str, Any]) -> None:
        # a param cannot change in MLflow, and what can change a result changes the run key
        self.params = {**record["values"], **self.params}

    def _tags(self, record: dict[str, Any]) -> None:
        self.tags |= record["values"]

    def _metrics(self, record: dict[str, Any]) -> None:
        for key, value in record["values"].items():
            if (key, record["step"]) not in self._seen:
                self._seen.add((key, record["step"]))
                self.points.append(Point(key, value, record["time"], record["step"]))

    def _summary(self, record: dict[str, Any]) -> None:
        known = self.latest
        for key, value in record["values"].items():
            if repr(known.get(key)) != repr(value):
                self.finals.append(Point(key, value, record["time"], 0))

    def _dataset(self, record: dict[str, Any]) -> None:
        self.datasets[record["digest"]] = record

    def _artifact(self, record: dict[str, Any]) -> None:
        self.artifacts[record["name"]] = record["digest"]

    def _model(self, record: dict[str, Any]) -> None:
        self.models[record["name"]] = record

    def _champion(self, record: dict[str, Any]) -> None:
        self.champion = {key: value for key, value in record.items() if key not in ("kind", "time")}

    def _end(self, record: dict[str, Any]) -> None:
        self.ended, self.status = record["time"], record["status"]


class Tail:
    """Follows a journal that may still grow; a line without its end is left for the next time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self.snapshot = Snapshot()

    def read(self) -> Snapshot:
        """The snapshot with all whole lines that are there now."""
        with self._path.open("rb") as file:
            file.seek(self.snapshot.size)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        for line in whole.splitlines():
            with suppress(ValueError):  # torn by a crash while a second writer held the file
                self.snapshot.feed(json.loads(line))
        self.snapshot.size += len(whole)
        return self.snapshot


def read(folder: Path) -> Snapshot:
    """The snapshot of a run folder; an empty one when there is no journal."""
    return Tail(folder).read() if (folder / JOURNAL).is_file() else Snapshot()
