"""Hospitals that learn together without showing each other their images: strategies, privacy, audit, network."""

from resight.federated.audit import Audit, run_audit
from resight.federated.base import STRATEGIES, Strategy, Updates
from resight.federated.coordinator import Coordinator
from resight.federated.settings import FederatedSettings
from resight.federated.simulate import Simulation, simulate
from resight.federated.site import Site
from resight.federated.site_data import SiteData

__all__ = [
    "STRATEGIES",
    "Audit",
    "Coordinator",
    "FederatedSettings",
    "Simulation",
    "Site",
    "SiteData",
    "Strategy",
    "Updates",
    "run_audit",
    "simulate",
]
