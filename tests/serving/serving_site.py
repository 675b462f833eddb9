"""A whole service without its threads, as tests drive it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastapi.testclient import TestClient

from resight.serving import ServiceSettings
from resight.serving.intake import Outcome
from resight.serving.parts import Parts
from resight.serving.worker import Worker


@dataclass
class Site:
    """A service with a model, shared by tests that each bring studies of their own."""

    parts: Parts
    client: TestClient
    tokens: dict[str, str]
    worker: Worker
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def uid(self) -> str:
        """A study UID that no other test has."""
        return f"1.2.826.7.{next(self._numbers)}"

    def as_(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    def accept(self, content: bytes) -> Outcome:
        path = self.parts.intake.spool()
        path.write_bytes(content)
        return self.parts.intake.accept(path, "test")

    def work(self) -> None:
        """As the worker's thread does in one round."""
        self.worker.settle()
        while (study := self.worker.next_study()) is not None:
            self.worker.process(study)

    def study(self, uid: str) -> dict:
        answer = self.client.get(f"/api/studies/{uid}", headers=self.as_("service"))
        assert answer.status_code == 200, answer.text
        return answer.json()


def make_settings(folder: Path, bundle: Path) -> ServiceSettings:
    model = {"name": "chest", "bundle": bundle, "modalities": ["DX"], "engine": "torch", "objects": ["sr"]}
    limits = {"upload_mb": 1, "in_flight": 2, "parsers": 1, "pixel_values": 4_000_000, "free_disk_mb": 0}
    settings = {"folder": folder / "data", "quiet_s": 0, "models": [model], "limits": limits}
    return ServiceSettings.model_validate(settings)
