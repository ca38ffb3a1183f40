"""Where readings go. An exporter is anything with write(reading) and close()."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headrace.errors import import_extra
from headrace.monitor.reading import Reading

__all__ = ["JsonLines", "Prometheus", "TensorBoard"]


class JsonLines:
    """A file with one JSON object a reading; appended to, each line written whole. Raises OSError if it cannot be opened or written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, reading: Reading) -> None:
        """Append a reading."""
        self._file.write(json.dumps(asdict(reading), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


class TensorBoard:
    """Scalars `headrace/<metric>` of a `SummaryWriter` (anything with add_scalar), at the count of batches delivered. The writer stays the user's."""

    def __init__(self, writer: Any, prefix: str = "headrace/") -> None:
        self._writer, self._prefix = writer, prefix

    def write(self, reading: Reading) -> None:
        """Add a reading's metrics."""
        for name, value in reading.metrics().items():
            self._writer.add_scalar(self._prefix + name, value, reading.totals["batches"])

    def close(self) -> None:
        """Nothing: the writer is not ours."""


# name, unit and kind follow https://prometheus.io/docs/practices/naming/: base units, _total for counters, no label that grows with the data.
_COUNTERS = (
    ("headrace_samples", "samples", "Samples delivered."),
    ("headrace_batches", "batches", "Batches delivered."),
    ("headrace_delivered_bytes", "bytes_delivered", "Bytes delivered."),
    ("headrace_read_bytes", "bytes_stored_read", "Stored bytes read."),
    ("headrace_decoded_bytes", "bytes_decoded", "Bytes decoded."),
    ("headrace_stall_seconds", "stall_seconds", "Time that the consumer spent waiting."),
    ("headrace_errors", "errors", "Samples that failed."),
    ("headrace_read_retries", "read_retries", "Reads tried once more."),
    ("headrace_cache_hits", "cache_hits", "Decoded blocks found in the cache."),
    ("headrace_cache_misses", "cache_misses", "Decoded blocks not found in the cache."),
)
_GAUGES = (
    ("headrace_queue_batches", "batches_ready", "Batches assembled, not yet taken."),
    ("headrace_in_flight_bytes", "bytes_in_flight", "Bytes of batches under way."),
    ("headrace_cache_bytes", "cache_bytes", "Bytes of decoded blocks kept, of all loaders."),
    ("headrace_epoch", "epoch", "Epoch under way."),
)


class Prometheus:
    """Metrics for a Prometheus server to scrape, labelled with the loader's name; needs the extra "metrics".

    port: serve them from a thread of prometheus_client's, at `address`; 0 for any free port (`port` says which). None: only add them to `registry`
    (default: prometheus_client's own), which the user serves. Figures are those of the last reading.
    Raises MissingExtraError, ValueError for what is no port, OSError if it is taken or the address is not this machine's.
    """

    def __init__(self, port: int | None = None, *, address: str = "127.0.0.1", registry: Any = None) -> None:
        self._client = import_extra("prometheus_client", "metrics", "headrace.monitor.Prometheus")
        self._registry = registry if registry is not None else self._client.REGISTRY if port is None else self._client.CollectorRegistry()
        self._latest: dict[str, Reading] = {}
        self._server: Any = None
        self._thread: Any = None
        if port is not None and not 0 <= port < 1 << 16:
            raise ValueError(f"port must be 0 to 65535, got {port}")
        self._registry.register(self)
        self.port = port
        if port is not None:
            try:
                self._server, self._thread = self._client.start_http_server(port, addr=address, registry=self._registry)
            except OSError as error:
                self._registry.unregister(self)
                raise OSError(
                    error.errno, f"Prometheus cannot listen on {address}, port {port}: {error.strerror}; port=0 takes a free one"
                ) from None
            self.port = self._server.server_port

    def write(self, reading: Reading) -> None:
        """Keep a reading until the next."""
        self._latest = {**self._latest, reading.loader: reading}  # A new dict: collect() may be reading the old one.

    def collect(self) -> Iterator[Any]:
        """What prometheus_client asks for at each scrape."""
        core = import_extra("prometheus_client.core", "metrics", "headrace.monitor.Prometheus")
        latest = self._latest
        for name, key, text in _COUNTERS:
            family = core.CounterMetricFamily(name, text, labels=["loader"])
            for loader, reading in latest.items():
                family.add_metric([loader], reading.totals[key])
            yield family
        for name, key, text in _GAUGES:
            family = core.GaugeMetricFamily(name, text, labels=["loader"])
            for loader, reading in latest.items():
                family.add_metric([loader], reading.totals[key])
            yield family
        stages = core.CounterMetricFamily("headrace_stage_seconds", "Thread seconds spent in a stage.", labels=["loader", "stage"])
        waits = core.GaugeMetricFamily(
            "headrace_batch_wait_seconds", "What next() waited for a batch, by quantile.", labels=["loader", "quantile"]
        )
        for loader, reading in latest.items():
            for stage, seconds in reading.totals["stages"].items():
                stages.add_metric([loader, stage], seconds)
            for quantile, key in (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("1", "max")):
                waits.add_metric([loader, quantile], reading.totals["wait_seconds"][key])
        yield stages
        yield waits

    def describe(self) -> list[Any]:
        """Nothing to look at when it is registered."""
        return []

    def close(self) -> None:
        """Take the metrics back and end the server; a second call does nothing."""
        server, self._server = self._server, None
        if self._registry is not None:
            self._registry.unregister(self)
            self._registry = None
        if server is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()
