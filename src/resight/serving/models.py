"""The models in service: loaded and checked at the start, exchanged while studies come in, each version recorded."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from sqlalchemy import select

from resight.errors import BundleError, ResightError
from resight.explain import PlacedEvidence, build_explainer
from resight.findings import ModelIdentity
from resight.models import Classifier, Predictor
from resight.models.bundle import MANIFEST_FILE
from resight.models.checksums import sha256
from resight.serving.audit_trail import append
from resight.serving.batching import Batcher
from resight.serving.row import now
from resight.serving.schema import Model, Study
from resight.serving.service import Service
from resight.serving.settings import ModelEntry
from resight.types import Image


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One version of a bundle, ready to answer.

    Attributes:
        entry: its settings.
        predictor: images in, probabilities out.
        batcher: the same for many callers at once.
        identity: how results name it.
        pk: row of the table of models.
    """

    entry: ModelEntry
    predictor: Predictor
    batcher: Batcher
    identity: ModelIdentity
    pk: int

    @property
    def operating_point(self) -> str | None:
        """The one decisions are made at."""
        return self.entry.operating_point or next(iter(self.predictor.operating_points), None)

    def threshold(self, label: str, point: str | None) -> float | None:
        """Threshold of a label at an operating point."""
        points = self.predictor.manifest.operating_points
        return next((p.threshold for p in points if p.name == point and p.label == label), None)

    def evidence(self, image: Image) -> PlacedEvidence | None:
        """Where the model sees each of its labels, on the image as it was read; None without an explainer.

        Scores may come from an exported engine; maps need gradients, and come from the weights that every bundle holds.
        """
        if self.entry.explainer is None:
            return None
        manifest = self.predictor.manifest
        prepared = torch.from_numpy(self.predictor.prepare(image))[None]
        explainer = build_explainer(self.entry.explainer)
        maps = [explainer.explain(member, prepared)[0] for member in _members(self.predictor)]
        mean = torch.stack(maps).mean(dim=0).float().cpu().numpy()
        return PlacedEvidence(tuple(manifest.labels), mean, manifest.recipe.grid(image), image.pixels.shape[1:])


class Models:
    """The models of the settings by name.

    Args:
        service: settings and database.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._loaded: dict[str, LoadedModel] = {}
        self.problems: dict[str, str] = {}
        """Why a model is not in service, by name."""
        for entry in service.settings.models:
            try:
                self.load(entry.name, by="service")
            except ResightError as error:
                self.problems[entry.name] = error.found
                service.audit("model refused", actor="service", subject=f"model {entry.name}", reason=error.found)

    def current(self, name: str) -> LoadedModel | None:
        """The version that answers now; None where there is none."""
        with self._lock:
            return self._loaded.get(name)

    def entries(self) -> tuple[ModelEntry, ...]:
        """Settings of all models, in service or not."""
        return self._service.settings.models

    def load(self, name: str, *, by: str) -> LoadedModel:
        """Read the bundle of a model anew, check it, and let it answer from now on.

        Studies that the version before is working on are finished by it. Where the new version fails its checks, the
        old one goes on.

        Args:
            name: of the model.
            by: who asked for it.

        Raises:
            BundleError: the bundle is incomplete, was changed, or fails its parity check.
            SettingsError: engine, device or operating point do not fit.
        """
        with self._loading:  # of two at once, the one that the database calls active has to be the one that answers
            return self._load(next(entry for entry in self.entries() if entry.name == name), by)

    def close(self) -> None:
        """Answer what was asked, then stop."""
        with self._lock:
            for model in self._loaded.values():
                model.batcher.close()

    def _load(self, entry: ModelEntry, by: str) -> LoadedModel:
        digest, loaded = self._checked(entry)
        limits = self._service.settings.limits
        with self._service.store.write() as session:
            row, old = self._record(session, entry, digest, loaded)
            details = {
                "version": digest,
                "before": old,
                "engine": loaded.engine.name,
                "notes": list(loaded.engine_notes),
            }
            append(session, "model in service", actor=by, subject=f"model {entry.name}", details=details, rows=[row])
            held = session.scalars(select(Study).where(Study.state == "held")).all()
            for study in held:
                study.state, study.reason = "queued", ""
                append(session, "study queued again", actor="service", subject=f"study {study.id}", rows=[study])
        model = LoadedModel(
            entry=entry,
            predictor=loaded,
            batcher=Batcher(loaded, batch=limits.batch, wait_s=limits.batch_wait_ms / 1000),
            identity=ModelIdentity(
                name=entry.name,
                version=digest,
                software=version("resight"),
                intended_use=loaded.manifest.intended_use,
                clearance=loaded.manifest.clearance,
                codes=entry.codes,
            ),
            pk=row.id,
        )
        with self._lock:
            before = self._loaded.get(entry.name)
            self._loaded[entry.name] = model
            self.problems.pop(entry.name, None)
        if before is not None:
            before.batcher.close()
        return model

    def _checked(self, entry: ModelEntry) -> tuple[str, Predictor]:
        predictor = Predictor.load(entry.bundle, device="cpu", precision=entry.precision, engine=entry.engine)
        manifest = predictor.manifest
        if entry.operating_point is not None and entry.operating_point not in predictor.operating_points:
            raise BundleError(f"has no operating point {entry.operating_point!r}", where=entry.name)
        if entry.explainer is not None:
            build_explainer(entry.explainer)  # an unknown one is told now and not with the first study
        probe = np.full((1, manifest.channels, *manifest.recipe.size_px), 128, np.uint8)
        alone, together = predictor.logits(probe), predictor.logits(np.repeat(probe, 2, axis=0))
        if not (np.isfinite(alone).all() and np.allclose(alone, together, rtol=0.05, atol=0.05)):
            raise BundleError("its answers are not finite, or depend on what is in the batch", where=entry.name)
        if manifest.encoding is None and not manifest.modalities:
            predictor.predict(probe[0])  # so that the first study does not wait for what is set up once
        return sha256(entry.bundle / MANIFEST_FILE), predictor

    def _record(self, session: Any, entry: ModelEntry, digest: str, loaded: Predictor) -> tuple[Model, str | None]:
        moment, old = now(), None
        for other in session.scalars(select(Model).where(Model.name == entry.name, Model.active)):
            other.active, other.retired_at, old = False, moment, other.model_hash
        row = session.scalar(select(Model).where(Model.name == entry.name, Model.model_hash == digest))
        manifest = loaded.manifest
        if row is None:
            row = Model(name=entry.name, model_hash=digest, bundle=str(entry.bundle), created=manifest.created[:40])
            session.add(row)
        row.active, row.retired_at, row.loaded_at = True, None, moment
        row.engine = f"{loaded.engine.name} {loaded.engine.precision}"
        row.summary = {
            "labels": list(manifest.labels),
            "task": manifest.task,
            "operating_points": [point.model_dump(mode="json") for point in manifest.operating_points],
            "calibrated": manifest.calibration is not None,
            "intended_use": manifest.intended_use,
            "limits": list(manifest.limits),
            "clearance": manifest.clearance,
        }
        session.flush()
        return row, old


def _members(predictor: Predictor) -> list[Classifier]:
    model = predictor.model
    return [model] if isinstance(model, Classifier) else [m for m in model.members if isinstance(m, Classifier)]
