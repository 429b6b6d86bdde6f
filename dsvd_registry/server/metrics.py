"""The figures that the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """Counters and gauges of one server."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "dsvd_requests", "Answered requests.", ("route", "method", "status"), registry=registry
        )
        self.bytes_made = Counter(
            "dsvd_bytes_made", "Bytes of files that were made to be sent.", registry=registry
        )
        self.making = Gauge(
            "dsvd_requests_making", "Requests that make bytes at the moment.", registry=registry
        )
        self.waiting = Gauge(
            "dsvd_requests_waiting", "Requests that wait for their turn.", registry=registry
        )
        self.sending = Gauge(
            "dsvd_responses_open", "Files that are being sent at the moment.", registry=registry
        )
        self.broken_off = Counter(
            "dsvd_responses_broken_off",
            "Files that were not sent to their end.",
            ("reason",),
            registry=registry,
        )
        for reason in ("damage", "client left", "client too slow"):
            self.broken_off.labels(reason)

    def text(self) -> bytes:
        """All figures in the text format of Prometheus."""
        return generate_latest(self._registry)
