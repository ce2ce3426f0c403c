"""What the server did, in Prometheus' text format (version 0.0.4)."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import time

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counter:
    """Sums by labels; also a gauge, through `set`."""

    def __init__(self, name: str, about: str, kind: str = "counter") -> None:
        self.name, self.about, self.kind = name, about, kind
        self.values: dict[Labels, float] = defaultdict(float)

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add to the sum with these labels."""
        self.values[tuple(labels.items())] += amount

    def set(self, value: float, **labels: str) -> None:
        """Replace the value with these labels."""
        self.values[tuple(labels.items())] = value

    def lines(self) -> Iterator[str]:
        """The metric in Prometheus' format."""
        yield from _head(self.name, self.about, self.kind)
        for labels, value in self.values.items():
            yield f"{self.name}{_braces(labels)} {value:g}"


class Histogram:
    """How many observations were at most each bound, by labels."""

    def __init__(self, name: str, about: str, bounds: Sequence[float]) -> None:
        self.name, self.about, self.bounds = name, about, bounds
        self.counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self.sums: dict[Labels, float] = defaultdict(float)

    def observe(self, value: float, **labels: str) -> None:
        """Count one observation."""
        key = tuple(labels.items())
        self.counts[key][bisect_left(self.bounds, value)] += 1
        self.sums[key] += value

    def lines(self) -> Iterator[str]:
        """The metric in Prometheus' format."""
        yield from _head(self.name, self.about, "histogram")
        for labels, counts in self.counts.items():
            for bound, total in zip([*(f"{each:g}" for each in self.bounds), "+Inf"], accumulate(counts), strict=True):
                yield f"{self.name}_bucket{_braces((*labels, ('le', bound)))} {total}"
            yield f"{self.name}_sum{_braces(labels)} {self.sums[labels]:.9g}"
            yield f"{self.name}_count{_braces(labels)} {sum(counts)}"


def _head(name: str, about: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"


def _braces(labels: Labels) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Metrics:
    """All that `/metrics` shows."""

    def __init__(self) -> None:
        self.requests = Counter("tlpipe_requests_total", "Requests answered, by endpoint and HTTP status.")
        self.latency = Histogram("tlpipe_request_seconds", "From the request's head to its answer.", SECONDS)
        self.batches = Histogram("tlpipe_batch_samples", "Samples in a call of the graph.", ROWS)
        self.compute = Histogram("tlpipe_graph_seconds", "Duration of a call of the graph.", SECONDS)
        self.waits = Histogram("tlpipe_queue_seconds", "How long the oldest sample of a call waited.", SECONDS)
        self.queue = Counter("tlpipe_queue_samples", "Samples that wait now.", "gauge")
        self.model = Counter("tlpipe_model_info", "The bundle being served: 1.", "gauge")
        self.reloads = Counter("tlpipe_reloads_total", "Bundles loaded while serving, by outcome.")
        self.started = Counter("tlpipe_start_time_seconds", "When the server began, Unix time.", "gauge")
        self.started.set(round(time(), 3))

    def batch(self, rows: int, seconds: float, waited: float) -> None:
        """One call of the graph."""
        self.batches.observe(rows)
        self.compute.observe(seconds)
        self.waits.observe(waited)

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        return "\n".join(line for metric in vars(self).values() for line in metric.lines()) + "\n"
