"""The page of metrics: TensorFlow Serving's names, labels and units, for what the embedded server has too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

from gradwire_serving._core import Code

MICROS: Final = 1e6  # in a second; every time is in microseconds, as in TensorFlow Serving
SERVING: Final = ":tensorflow:serving:"
SAVED_MODEL: Final = ":tensorflow:cc:saved_model:"
BUCKETS: Final = tuple(10 * 1.8**power for power in range(33))  # 10 µs to 25 minutes
QUEUING_BUCKETS: Final = tuple(100 * 1.2**power for power in range(52))  # 0.1 ms to a second
RUNTIME: Final = "TF1"  # a Session, as in TensorFlow Serving


@final
class Metrics:
    """Counts requests and loads, and the times that they take."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{SERVING}request_count",
            "Requests, by model and status.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            f"{SERVING}request_latency",
            "Microseconds that a request took.",
            ["model_name", "API", "entrypoint"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._runtime = Histogram(
            f"{SERVING}runtime_latency",
            "Microseconds that its computation took.",
            ["model_name", "API", "runtime"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._queuing = Histogram(
            f"{SERVING}batching_session:queuing_latency",
            "Microseconds that a call waited for its batch.",
            ["thread_pool_name"],
            buckets=QUEUING_BUCKETS,
            registry=self._registry,
        )
        self._loads = Counter(
            f"{SAVED_MODEL}load_attempt_count",
            "Loads, by path and success.",
            ["model_path", "status"],
            registry=self._registry,
        )
        self._load_time = Counter(
            f"{SAVED_MODEL}load_latency", "Microseconds of all loads.", ["model_path"], registry=self._registry
        )

    def request(self, model: str, code: Code, seconds: float, *, api: str, entrypoint: str) -> None:
        """Count a request; its time, where it succeeded."""
        self._requests.labels(model, code.name).inc()
        if code is Code.OK:
            self._latency.labels(model, api, entrypoint).observe(seconds * MICROS)

    def computation(self, model: str, seconds: float) -> None:
        """Count a computation."""
        self._runtime.labels(model, "Predict", RUNTIME).observe(seconds * MICROS)

    def queued(self, thread_pool: str, seconds: float) -> None:
        """Count the wait of a call for its batch."""
        self._queuing.labels(thread_pool).observe(seconds * MICROS)

    @contextmanager
    def load(self, path: Path) -> Iterator[None]:
        """Count the attempt to load a version that a ``with`` block is."""
        start = time.monotonic()
        status = "fail"
        try:
            yield
            status = "success"
        finally:
            self._loads.labels(str(path), status).inc()
            self._load_time.labels(str(path)).inc((time.monotonic() - start) * MICROS)

    def page(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        page = generate_latest(_ServingNames(self._registry))
        for metric in self._registry.collect():
            if metric.type == "counter":
                page = page.replace(
                    f"# TYPE {metric.name} gauge\n".encode(), f"# TYPE {metric.name} counter\n".encode()
                )
        return page


@final
class _ServingNames(Collector):
    """Metrics without what prometheus-client adds to names: ``_total``, and a ``_created`` beside each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    @override
    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            # It would write "_total" for a counter, so page() writes the word afterwards.
            renamed = Metric(metric.name, metric.documentation, "gauge" if metric.type == "counter" else metric.type)
            for sample in metric.samples:
                if not sample.name.endswith("_created"):
                    labels = dict(sample.labels)
                    if "le" in labels and labels["le"] != "+Inf":
                        labels["le"] = f"{float(labels['le']):g}"
                    renamed.add_sample(sample.name.removesuffix("_total"), labels, sample.value)
            yield renamed
