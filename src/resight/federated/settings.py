"""An experiment file with two more sections: how sites learn together, and how sites are made for a simulation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from resight.cohorts import CohortOptions
from resight.experiments import ExperimentSettings
from resight.experiments.settings import ReportOptions, StoreOptions
from resight.settings import Options
from resight.training import TrainingOptions


class StrategyChoice(Options):
    """How updates of sites become one model, by registered name, and its options."""

    name: str = Field(default="fedavg", description="registered strategy")
    options: dict[str, float | bool | str] = Field(default_factory=dict)


class PrivacyOptions(Options):
    """What protects a site beyond keeping its images."""

    secure_aggregation: bool = Field(default=False, description="the server sees sums of sites only")
    threshold: int = Field(
        default=0, ge=0, description="sites that must stay until a sum is opened; 0: more than two thirds of them"
    )
    differential: Literal["none", "site", "example"] = Field(
        default="none", description="noise that hides a whole site's update, or a single training image"
    )
    noise: float = Field(default=1.0, gt=0, description="standard deviation of the noise over the clipping norm")
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of a site's update, or an image's gradient")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="chance that epsilon does not hold")
    epsilon: float = Field(default=0.0, ge=0, description="budget; training ends before it is exceeded; 0: none set")


class SiteAuditOptions(Options):
    """What sites count together when training is done."""

    groups: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="attribute -> values that are counted apart"
    )
    sensitivity: float = Field(default=0.9, gt=0, lt=1, description="kept by the shared and by each site's threshold")


class FederationOptions(Options):
    """How sites learn together."""

    rounds: int = Field(default=10, gt=0, le=100_000, description="times that updates are put together")
    local_epochs: int = Field(default=1, gt=0, description="passes of a site over its images in a round")
    strategy: StrategyChoice = Field(default_factory=StrategyChoice)
    learns: Literal["network", "head"] = Field(
        default="network", description="head: the backbone neither learns nor travels; the head begins at 0"
    )
    weight_by: Literal["cases", "equal"] = Field(default="cases", description="what a site's update counts")
    participation: float = Field(default=1.0, gt=0, le=1, description="share of the sites drawn in a round")
    min_sites: int = Field(default=2, gt=0, description="updates without which a round is not put together")
    begin_with: int = Field(
        default=0, ge=0, description="sites that the first round waits for, as they agree on columns; 0: min_sites"
    )
    timeout_s: float = Field(default=3600.0, gt=0, description="how long the server waits for sites")
    privacy: PrivacyOptions = Field(default_factory=PrivacyOptions)
    audit: SiteAuditOptions = Field(default_factory=SiteAuditOptions)


class SimulationOptions(Options):
    """How one cohort becomes several sites, each image of a patient at the same one."""

    column: str = Field(default="", description="attribute that names the site; else sites are drawn")
    sites: int = Field(default=3, ge=2, le=1000, description="how many are drawn")
    label_skew: float = Field(
        default=0.0, ge=0, description="alpha of a Dirichlet draw of sites for each label; 0: labels spread evenly"
    )
    scanner_shift: float = Field(
        default=0.0, ge=0, le=1, description="how far the grey values of sites are moved apart; 0: not at all"
    )
    absent: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="site -> rounds, from 0, in which it falls silent after training"
    )
    baselines: bool = Field(default=True, description="also train on all images together, and each site alone")


class LocalTraining(TrainingOptions):
    """Training at a site: rounds and local epochs take the place of `epochs`."""

    ema_decay: float = Field(default=0.0, description="0: weights are averaged over sites, not over steps")
    patience: int = Field(default=0, description="0: the number of rounds is fixed")

    @field_validator("ema_decay", "patience")
    @classmethod
    def _unused(cls, value: float, info: ValidationInfo) -> float:
        if value:
            reason = "weights are averaged over sites" if info.field_name == "ema_decay" else "rounds are counted"
            raise ValueError(f"0 in a federation, where {reason}")
        return value


class FederatedSettings(ExperimentSettings):
    """One experiment that several sites carry out without showing each other their images."""

    training: LocalTraining = Field(default_factory=LocalTraining)  # pyright: ignore[reportIncompatibleVariableOverride]
    federation: FederationOptions = Field(default_factory=FederationOptions)
    simulation: SimulationOptions = Field(default_factory=SimulationOptions)

    @model_validator(mode="after")
    def _federated(self) -> Self:
        privacy = self.federation.privacy
        if self.folds or self.members > 1:
            raise ValueError("one network without folds, as sites train one together")
        if self.federation.learns == "head" and self.federation.strategy.name == "personal_head":
            raise ValueError(
                "another strategy than personal_head where only the head learns, as nothing would be shared"
            )
        if self.cohort.time_column is not None and isinstance(self.cohort.intervals, int):
            raise ValueError("cohort.intervals as a list of ends, as every site would choose others for a number")
        if privacy.differential == "site" and self.federation.weight_by != "equal":
            raise ValueError("weight_by = 'equal' with site noise, as a site's share must not depend on its size")
        return self

    def digest(self) -> str:
        """SHA-256 of all that server and sites must agree on: not where a site's images lie."""
        same = self.model_copy(
            update={"cohort": CohortOptions(path=Path()), "store": StoreOptions(), "report": ReportOptions()}
        )
        same = same.model_copy(update={"simulation": SimulationOptions()})
        text = json.dumps(same.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
