"""Prometheus metrics of the server, and their text format (version 0.0.4)."""

from functools import cache
from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All that `/metrics` shows, of this server alone."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series beside each other one that says when it began
        self.registry = registry = CollectorRegistry()
        requests = Counter(
            "tlpipe_requests_total",
            "Requests answered, by endpoint and HTTP status.",
            ["endpoint", "status"],
            registry=registry,
        )
        latency = Histogram(
            "tlpipe_request_seconds",
            "From the request's head to its answer.",
            ["endpoint"],
            registry=registry,
            buckets=SECONDS,
        )
        # Few of them: endpoints are names of functions. The client's own way to them takes a lock and a while.
        self._requests, self._latency = cache(requests.labels), cache(latency.labels)
        self._rows = Histogram(
            "tlpipe_batch_samples", "Samples in a call of the graph.", registry=registry, buckets=ROWS
        )
        self._compute = Histogram(
            "tlpipe_graph_seconds", "Duration of a call of the graph.", registry=registry, buckets=SECONDS
        )
        self._waits = Histogram(
            "tlpipe_queue_seconds",
            "How long the oldest sample of a call waited.",
            registry=registry,
            buckets=SECONDS,
        )
        self.queue = Gauge("tlpipe_queue_samples", "Samples that wait now.", registry=registry)
        self._model = Gauge(
            "tlpipe_model_info",
            "The bundle being served: 1.",
            ["model", "version", "provider"],
            registry=registry,
        )
        self._reloads = Counter(
            "tlpipe_reloads_total", "Bundles loaded while serving, by outcome.", ["outcome"], registry=registry
        )
        started = Gauge("tlpipe_start_time_seconds", "When the server began, Unix time.", registry=registry)
        started.set(round(time(), 3))

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """One request, answered."""
        self._requests(endpoint, str(status)).inc()
        self._latency(endpoint).observe(seconds)

    def batch(self, rows: int, seconds: float, waited: float) -> None:
        """One call of the graph."""
        self._rows.observe(rows)
        self._compute.observe(seconds)
        self._waits.observe(waited)

    def model(self, model: str, version: str, provider: str) -> None:
        """The bundle that is served from now on."""
        self._model.clear()
        self._model.labels(model, version, provider).set(1)

    def reload(self, outcome: str) -> None:
        """One attempt to load a bundle while serving."""
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)
