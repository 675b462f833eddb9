"""Several sites in one process: the same site and server code as over the network, without a network.

The order of everything is fixed, so that a simulation gives the same numbers again; an error in a site's code ends it
with that site's traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.errors import ResightError, require
from resight.experiments.prepare import prepare
from resight.federated.audit import Audit, run_audit
from resight.federated.coordinator import Coordinator
from resight.federated.history import History
from resight.federated.messages import Message
from resight.federated.outcome import open_folder, write_bundle, write_outcome
from resight.federated.settings import FederatedSettings, FederationOptions, PrivacyOptions, StrategyChoice
from resight.federated.settings_check import check_settings
from resight.federated.site import Site
from resight.federated.site_data import SiteData
from resight.federated.sites import make_sites, together
from resight.multimodal import TableEncoding
from resight.types import Progress, silent

POOLED, ALONE = "pooled", "alone"


class InProcess:
    """A transport that calls the sites one after the other.

    Args:
        sites: by name.
        absent: site -> rounds in which its last message does not arrive.
    """

    def __init__(self, sites: Mapping[str, Site], absent: Mapping[str, Sequence[int]] | None = None) -> None:
        self._sites, self._absent = sites, absent or {}

    def sites(self) -> Sequence[str]:
        """All of them, always."""
        return sorted(self._sites)

    def wait(self, count: int, known: Iterable[str], timeout_s: float) -> Sequence[str]:
        """All of them; nobody else will come."""
        del count, known, timeout_s
        return self.sites()

    def ask(self, requests: Mapping[str, Message], timeout_s: float) -> Mapping[str, Message]:
        """The replies, but for planned absences."""
        del timeout_s
        replies: dict[str, Message] = {}
        for name in sorted(requests):
            site = self._sites[name]
            try:
                reply = site.answer(requests[name])
            except Exception as error:
                if not isinstance(error, ResightError):
                    error.add_note(f"raised by {name!r} while answering {requests[name].kind!r}")
                raise
            secure = site.settings.federation.privacy.secure_aggregation
            last = "masked" if secure else "train"
            if reply.kind == last and requests[name].round in self._absent.get(name, ()):
                continue
            replies[name] = reply
        return replies


@dataclass(frozen=True)
class Outcome:
    """One way of training, judged.

    Attributes:
        name: `federated`, `pooled`, or `alone: <site>`.
        audit: figures over the test images of the sites that took part.
        history: rounds and refusals; empty where the audit alone was run.
        encoding: of the clinical columns, where there are some.
    """

    name: str
    audit: Audit
    history: History
    encoding: TableEncoding | None = None


@dataclass(frozen=True)
class Simulation:
    """What a simulation found and where it lies."""

    folder: Path
    outcomes: tuple[Outcome, ...]


def simulate(
    settings: FederatedSettings, folder: Path, *, resume: bool = False, progress: Progress = silent
) -> Simulation:
    """Train on simulated sites, and on the baselines where asked for.

    Args:
        settings: the experiment.
        folder: made if it is not there; holds a folder for each way of training.
        resume: go on where a simulation was interrupted.
        progress: told after every round.

    Raises:
        ResightError: whatever stops it; what is finished stays.
    """
    check_settings(settings)
    open_folder(settings, folder, resume=resume)
    prepared = prepare(settings, settings.store.folder or folder / "store", progress, encode=False)
    sites = make_sites(settings, prepared)
    federated = run_sites("federated", settings, sites, folder / "federated", resume=resume, progress=progress)
    outcomes = [federated]
    if settings.simulation.baselines:
        baselines = {POOLED: (folder / POOLED, {POOLED: together(sites)})}
        baselines |= {f"{ALONE}: {name}": (folder / ALONE / name, {name: data}) for name, data in sites.items()}
        for title, (place, data) in baselines.items():
            found = run_sites(
                title,
                plain_settings(settings),
                data,
                place,
                judged_on=sites,
                resume=resume,
                progress=progress,
                encoding=federated.encoding,  # a site alone may lack a category that others have
            )
            outcomes.append(found)
    write_outcome(settings, folder, outcomes)
    return Simulation(folder, tuple(outcomes))


def run_sites(
    title: str,
    settings: FederatedSettings,
    data: Mapping[str, SiteData],
    folder: Path,
    *,
    judged_on: Mapping[str, SiteData] | None = None,
    resume: bool = False,
    progress: Progress = silent,
    encoding: TableEncoding | None = None,
) -> Outcome:
    """Train on some sites and audit on the same or on others.

    Args:
        title: what the outcome is called.
        settings: the experiment.
        data: images of the sites that train.
        folder: of this way of training.
        judged_on: sites of the audit, where they are not those that trained.
        resume: go on from the last finished round.
        progress: told after every round.
        encoding: of the clinical columns, where it need not be agreed on any more.
    """
    coordinator = Coordinator(
        settings,
        InProcess(sites_of(settings, data, folder / "sites"), settings.simulation.absent),
        folder,
        resume=resume,
        progress=lambda _, done, total, detail: progress(title, done, total, detail),
        encoding=encoding,
    )
    coordinator.train()
    if judged_on is not None:
        coordinator.turn_to(InProcess(sites_of(settings, judged_on, folder / "judged")))
    audit = run_audit(coordinator)
    write_bundle(coordinator, audit, folder / "bundle")
    return Outcome(title, audit, coordinator.history, coordinator.encoding)


def sites_of(settings: FederatedSettings, data: Mapping[str, SiteData], folder: Path) -> dict[str, Site]:
    """Site objects with fresh keys, each in a folder of its own."""
    identities: dict[str, Any] = {}
    if settings.federation.privacy.secure_aggregation:
        ed25519 = require("cryptography.hazmat.primitives.asymmetric.ed25519", extra="federated")
        identities = {name: ed25519.Ed25519PrivateKey.generate() for name in data}
    roster = {name: key.public_key().public_bytes_raw() for name, key in identities.items()}
    return {
        name: Site(name, settings, one, folder / name, identity=identities.get(name), roster=roster)
        for name, one in data.items()
    }


def plain_settings(settings: FederatedSettings) -> FederatedSettings:
    """The same training without strategy or protection: as many rounds, epochs and steps."""
    federation: FederationOptions = settings.federation.model_copy(
        update={
            "strategy": StrategyChoice(),
            "privacy": PrivacyOptions(),
            "min_sites": 1,
            "begin_with": 0,
            "participation": 1.0,
        }
    )
    simulation = settings.simulation.model_copy(update={"absent": {}})
    return settings.model_copy(update={"federation": federation, "simulation": simulation})
