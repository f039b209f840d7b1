"""`/metrics`: what the server did, for Prometheus; only where the operator asked for it."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Response

from promptseg._extras import require
from promptseg.server.core.service import Service


class Metrics:
    """Counts requests and seconds, and reads off the rest when it is asked.

    Args:
        service: What is measured.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, service: Service) -> None:
        self._client = require("prometheus_client", extra="metrics")
        self._service = service
        # of this server alone: the usual registry is one for the whole process
        self._registry = self._client.CollectorRegistry()
        self._requests = self._client.Counter(
            "promptseg_requests", "Answered requests.", ("route", "code"), registry=self._registry
        )
        self._request_seconds = self._client.Histogram(
            "promptseg_request_seconds", "From a request to its answer.", ("route",), registry=self._registry
        )
        self._step_seconds = self._client.Histogram(
            "promptseg_step_seconds", "Steps of requests that computed.", ("step",), registry=self._registry
        )
        self._registry.register(self)

    def count_request(self, *, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_steps(self, seconds: Mapping[str, float]) -> None:
        """Count the steps of a request."""
        for step, spent in seconds.items():
            self._step_seconds.labels(step).observe(spent)

    def collect(self) -> Iterator[Any]:
        """Read off waiting requests and stored images; Prometheus's registry calls it."""
        families = require("prometheus_client.core", extra="metrics")
        gauge, counter = families.GaugeMetricFamily, families.CounterMetricFamily
        waiting = gauge("promptseg_waiting", "Requests that wait for a device.", labels=("device",))
        for gate in self._service.gates:
            waiting.add_metric((gate.device,), gate.num_waiting)
        yield waiting
        counts = self._service.images.counts()
        yield gauge("promptseg_images", "Stored images.", value=counts.num_images)
        yield gauge("promptseg_image_bytes", "Of stored images and embeddings.", value=counts.num_bytes)
        for name in ("hits", "misses", "evictions"):
            yield counter(f"promptseg_image_{name}", f"Stored images: {name}.", value=getattr(counts, name))

    def router(self) -> APIRouter:
        """Make the router."""
        router = APIRouter(include_in_schema=False)

        @router.get("/metrics")
        async def metrics() -> Response:
            text = self._client.generate_latest(self._registry)
            return Response(text, media_type=self._client.CONTENT_TYPE_LATEST)

        return router
