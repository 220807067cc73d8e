"""Where the numbers of `dfd_batch.metrics` go: to Ray's metrics agents, or held for this run.

On a Ray cluster the stages and the driver hand theirs to the agent of their node, which exports
them with `ray_` before the name (`RayMeters`). The driver also holds all numbers of its run itself
(`Tally`), for a file in the run's folder and a port of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.util.metrics
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family

from dfd_batch.metrics import METRICS, Metric

log = logging.getLogger("dfd_batch")
LOOPBACK = "127.0.0.1"
AGAIN_EVERY_S = 5.0
"""Ray exports a gauge for some 20 s after it was set and then forgets it."""


class RayMeters:
    """Numbers for the metrics agent of this process's Ray node; nothing where there is no Ray.

    Ray's own worker and node labels are added there. A call costs microseconds: the values are
    sent every few seconds, by Ray, and once more when the process ends.
    """

    def __init__(self) -> None:
        self._made: dict[Metric, Any] = {}
        self._gauges: dict[Metric, float] = {}
        self._on = True

    def inc(self, metric: Metric, value: float, label: str | None = None) -> None:
        """Add to a counter."""
        if value > 0:  # Ray refuses to count nothing
            self._record(metric, value, label)

    def set(self, metric: Metric, value: float) -> None:
        """Set a gauge that has no label."""
        self._gauges[metric] = value
        self._record(metric, value, None)

    @contextmanager
    def reminding(self) -> Iterator[None]:
        """Tell Ray the gauges again and again meanwhile; must end before Ray does."""
        over = threading.Event()

        def remind() -> None:
            while not over.wait(AGAIN_EVERY_S):
                for metric, value in tuple(self._gauges.items()):
                    self._record(metric, value, None)

        thread = threading.Thread(target=remind, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _record(self, metric: Metric, value: float, label: str | None) -> None:
        if not (self._on and ray.is_initialized()):
            return
        tags = {metric.label: str(label)} if metric.label else {}
        try:
            made = self._made.get(metric) or self._made.setdefault(metric, _for_ray(metric))
            (made.inc if metric.kind == "counter" else made.set)(float(value), tags)
        except Exception as error:
            # whatever ails the metrics, the scan goes on without them
            self._on = False
            log.warning("Ray takes no metrics of this process: %r", error)


def _for_ray(metric: Metric) -> Any:
    kind = ray.util.metrics.Counter if metric.kind == "counter" else ray.util.metrics.Gauge
    return kind(metric.name, metric.help, (metric.label,) if metric.label else ())


class Tally:
    """The numbers of one run, held in this process; counters begin at 0 for all their labels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Metric, dict[str | None, float]] = {
            metric: dict.fromkeys(metric.values or (None,), 0.0)
            for metric in METRICS
            if metric.kind == "counter"
        }
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def inc(self, metric: Metric, value: float, label: str | None = None) -> None:
        """Add to a counter."""
        with self._lock:
            own = self._values[metric]
            own[label] = own.get(label, 0.0) + value

    def set(self, metric: Metric, value: float) -> None:
        """Set a gauge that has no label."""
        with self._lock:
            self._values[metric] = {None: float(value)}

    def value(self, metric: Metric, label: str | None = None) -> float:
        """Return the value so far, 0 where there is none."""
        with self._lock:
            return self._values.get(metric, {}).get(label, 0.0)

    def collect(self) -> Iterator[Family]:
        """Yield the numbers as prometheus_client asks for them."""
        with self._lock:
            held = {metric: dict(values) for metric, values in self._values.items()}
        for metric, values in held.items():
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made = family(metric.name, metric.help, labels=(metric.label,) if metric.label else ())
            for label, value in values.items():
                made.add_metric(() if label is None else (label,), value)
            yield made

    def text(self) -> bytes:
        """Return the numbers in Prometheus's text format."""
        return bytes(generate_latest(self._registry))

    @contextmanager
    def served(self, port: int | None) -> Iterator[None]:
        """Serve the numbers at `http://127.0.0.1:PORT/metrics` meanwhile; None: do not.

        A port that is taken is told in the log; the scan goes on.
        """
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, LOOPBACK, self._registry)
        except OSError as error:
            log.warning("No metrics at port %d of %s: %s", port, LOOPBACK, error)
            yield
            return
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
