"""Counters for Prometheus, in a registry of their own; no label holds anything that a sender could choose freely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from resight.errors import require
from resight.serving.schema import Delivery, Study
from resight.serving.service import Service

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Telemetry:
    """What is counted while the service runs.

    Args:
        service: asked for the state of worklist and deliveries when somebody looks.
    """

    def __init__(self, service: Service) -> None:
        prometheus: Any = require("prometheus_client", extra="serve")
        self._prometheus = prometheus
        self._service = service
        self.registry: CollectorRegistry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "resight_requests", "HTTP requests", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "resight_request_seconds", "Time to answer an HTTP request", ["route"], registry=self.registry
        )
        self.images = prometheus.Counter(
            "resight_images", "Images answered by /api/predict", ["model", "outcome"], registry=self.registry
        )
        self.in_flight = prometheus.Gauge(
            "resight_predictions_in_flight", "Requests for predictions being worked on", registry=self.registry
        )
        self._studies = prometheus.Gauge("resight_studies", "Studies by state", ["state"], registry=self.registry)
        self._undelivered = prometheus.Gauge(
            "resight_undelivered_objects", "Results that have not arrived yet", registry=self.registry
        )

    def text(self) -> tuple[bytes, str]:
        """All figures in Prometheus' text format, and its media type."""
        with self._service.store.read() as session:
            states = session.execute(select(Study.state, func.count()).group_by(Study.state)).all()
            waiting = select(func.count()).select_from(Delivery).where(Delivery.delivered_at.is_(None))
            self._undelivered.set(session.scalar(waiting) or 0)
        for state, count in states:
            self._studies.labels(state).set(count)
        return self._prometheus.generate_latest(self.registry), self._prometheus.CONTENT_TYPE_LATEST
