"""The parts that one service is made of, put together once and shared by node, worker and web pages."""

from __future__ import annotations

import threading

from resight.imaging import Sandbox
from resight.serving.intake import Intake
from resight.serving.models import Models
from resight.serving.service import Service
from resight.serving.telemetry import Telemetry


class Parts:
    """Readers, intake, models and counters of a service; a context manager that closes all, the service too.

    Args:
        service: settings and database.
    """

    def __init__(self, service: Service) -> None:
        limits = service.settings.limits
        self.service = service
        self.sandbox = Sandbox(
            processes=limits.parsers,
            memory_mb=limits.parse_memory_mb,
            timeout_s=limits.parse_timeout_s,
            most_values=limits.pixel_values,
            most_frames=limits.frames,
        )
        self.intake = Intake(service, self.sandbox)
        self.models = Models(service)
        self.telemetry = Telemetry(service)
        self.slots = threading.BoundedSemaphore(limits.in_flight)
        """One for each request for predictions that may be worked on at once."""

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.models.close()
        self.sandbox.close()
        self.service.close()
