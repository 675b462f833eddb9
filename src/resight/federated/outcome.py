"""What a federation leaves behind: settings, figures, and a bundle where there is one network for everybody."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

from resight.errors import OutputError, SettingsError
from resight.experiments.record import environment
from resight.federated.audit import Audit
from resight.federated.coordinator import Coordinator
from resight.federated.history import History
from resight.federated.settings import FederatedSettings
from resight.models import Classifier, Manifest, save_bundle
from resight.settings import begin_with, load_toml, plain, write_json

SETTINGS_FILE = "settings.toml"


class Judged(Protocol):
    """One way of training, judged."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def audit(self) -> Audit:
        """Its figures."""
        ...

    @property
    def history(self) -> History:
        """Its rounds."""
        ...


def open_folder(settings: FederatedSettings, folder: Path, *, resume: bool) -> None:
    """Begin a folder, or make sure that it is one to go on with.

    Raises:
        OutputError: it is taken, or cannot be written.
        SettingsError: it was begun with other settings.
    """
    path = folder / SETTINGS_FILE
    if path.exists():
        if not resume:
            fix = "Choose another folder, give --resume to go on, or --force to begin anew."
            raise OutputError("holds a federation already", where=str(folder), fix=fix)
        before = load_toml(path, FederatedSettings)
        if before.digest() != settings.digest() or before.simulation != settings.simulation:
            fix = "Resume with the settings.toml of the folder, or choose another one."
            raise SettingsError("the settings are not those it began with", where=str(path), fix=fix)
        return
    begin_with(settings, path)


def write_outcome(settings: FederatedSettings, folder: Path, outcomes: Sequence[Judged]) -> None:
    """Write `federation.json`: all figures, rounds and refusals."""
    write_json(
        folder / "federation.json",
        {
            "name": settings.name,
            "strategy": settings.federation.strategy.model_dump(mode="json"),
            "privacy": settings.federation.privacy.model_dump(mode="json"),
            "environment": environment(),
            "outcomes": {
                one.name: one.audit.to_dict()
                | {"rounds": plain(one.history.rounds), "refusals": plain(one.history.refusals)}
                for one in outcomes
            },
        },
    )


def write_bundle(coordinator: Coordinator, audit: Audit, folder: Path) -> bool:
    """Write the shared network as a bundle that predicts like any other.

    Returns:
        Whether there is one; no where a strategy keeps parts of the network at the sites.
    """
    model, settings = coordinator.model, coordinator.settings
    if coordinator.strategy.stays(model) - coordinator.frozen:
        return False
    assert isinstance(model, Classifier)
    state = model.state_dict()
    with torch.no_grad():
        for name, array in coordinator.shared.items():
            state[name].copy_(torch.from_numpy(array))
    versions: dict[str, Any] = environment()["versions"]
    figures = audit.to_dict()
    manifest = Manifest(
        name=settings.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        labels=coordinator.task.labels,
        task=coordinator.task.task,  # pyright: ignore[reportArgumentType]
        recipe=settings.recipe,
        model=settings.model,
        encoding=coordinator.encoding,
        horizons=coordinator.task.horizons,
        calibration=audit.calibration,
        operating_points=audit.points,
        intended_use=settings.intended_use,
        limits=(
            "For research use only; not a medical device.",
            "Trained and judged at several sites without pooling images: no sentinels, and intervals count every image"
            " as a patient.",
        ),
        metrics={"pooled": figures["pooled"], "worst": figures["worst"], "evaluated_on": "test"},
        data={"sites": {name: facts.get("images") for name, facts in coordinator.members.items()}},
        versions={name: one for name, one in versions.items() if one},
    )
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    save_bundle(folder, model, manifest)
    return True
