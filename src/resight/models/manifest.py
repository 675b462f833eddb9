"""What a bundle says of itself: all that lies between a file and a decision, and what it was measured to do."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, model_validator

from resight.evaluation import Budgets, Calibration, Conformal, OperatingPoint
from resight.models.ensemble import Combination
from resight.models.model_options import ModelOptions
from resight.multimodal import TableEncoding
from resight.preprocess import Recipe
from resight.settings import Options
from resight.types import Task

FORMAT_VERSION: Final = 1


class Manifest(Options):
    """The contents of `manifest.json`.

    Built from the objects of the rooms: recipe, calibration and operating points are read back as what they were.
    """

    format_version: int = FORMAT_VERSION
    name: str = "model"
    created: str = Field(default="", description="date and time, ISO 8601")
    labels: tuple[str, ...] = Field(min_length=1, description="names of the logits, in order")
    task: Task
    recipe: Recipe = Field(description="how a file becomes the network's input; the same in training and service")
    model: ModelOptions = ModelOptions()
    encoding: TableEncoding | None = Field(default=None, description="how clinical columns become numbers")
    horizons: tuple[float, ...] = Field(
        default=(), description="ends of the time intervals whose hazards the labels are; empty: findings"
    )
    members: int = Field(default=1, ge=1, le=100, description="networks that answer together")
    combination: Combination = Field(default="mean_logits", description="how the members' answers become one")
    calibration: Calibration | None = Field(default=None, description="from logits to probabilities")
    conformal: Conformal | None = Field(default=None, description="from probabilities to sets of answers")
    operating_points: tuple[OperatingPoint, ...] = ()
    budgets: Budgets | None = Field(default=None, description="ways to run the network for less work")
    sentinels: dict[str, Any] | None = Field(default=None, description="`Sentinels.to_dict()`: what images looked like")
    reference: dict[str, Any] | None = Field(
        default=None, description="`Reference.to_dict()`: held-out scores and attributes to compare incoming cases with"
    )
    intended_use: str = ""
    clearance: str = Field(default="", description="under what it may be used on patients; research only when empty")
    limits: tuple[str, ...] = Field(default=(), description="what the model must not be used for, one sentence each")
    trust: dict[str, tuple[str, ...]] = Field(
        default={}, description="what was measured of groups, doubt and explanations, sentences by heading"
    )
    metrics: dict[str, Any] = Field(default={}, description="figures with intervals, as resight.evaluation writes them")
    data: dict[str, Any] = Field(default={}, description="name, fingerprint and counts of the cohort")
    settings: dict[str, Any] = Field(default={}, description="settings of the run that trained it")
    versions: dict[str, str] = Field(default={}, description="of the software that trained it")
    files: dict[str, str] = Field(default={}, description="sha256 of every other file")

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("every label once")
        if (self.task == "binary") != (len(self.labels) == 1):
            raise ValueError("one label for a binary task and more for any other")
        if unknown := {point.label for point in self.operating_points} - set(self.labels):
            raise ValueError(f"operating points of the labels alone, not of {sorted(unknown)[0]!r}")
        if (self.encoding is None) != (self.model.clinical is None):
            raise ValueError("an encoding of the clinical columns where the model reads some, and only there")
        if self.horizons and len(self.horizons) != len(self.labels):
            raise ValueError(f"{len(self.labels)} ends of intervals, not {len(self.horizons)}")
        if self.calibration and len(self.calibration.labels) != len(self.labels):
            raise ValueError(f"a calibration of {len(self.labels)} labels, not of {len(self.calibration.labels)}")
        if self.budgets and (self.members > 1 or self.budgets.exits != self.model.exits.after):
            raise ValueError("budgets of one network with the exits that it has")
        if self.conformal and len(self.conformal.labels) != len(self.labels):
            raise ValueError(f"sets of {len(self.labels)} labels, not of {len(self.conformal.labels)}")
        return self

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return self.recipe.input_channels

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the images that are read of each patient; empty for one image."""
        return tuple(modality.name for modality in self.recipe.modalities)

    @property
    def dims(self) -> int:
        """Spatial dimensions of the network's input."""
        return len(self.recipe.size_px)

    def weight_files(self) -> tuple[str, ...]:
        """Names of the members' weight files, in order."""
        if self.members == 1:
            return ("model.safetensors",)
        return tuple(f"model_{index}.safetensors" for index in range(self.members))
