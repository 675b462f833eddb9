"""An experiment file: everything a run needs, as one typed tree that is written out again with every default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from resight.cohorts import CohortOptions, SplitOptions
from resight.evaluation import CalibrationMethod, ConformalOptions, EvaluationOptions, OperatingRule
from resight.models import ModelOptions
from resight.preprocess import Augmentation, Recipe
from resight.settings import Options
from resight.training import TrainingOptions


class StoreOptions(Options):
    """The decode-once store of prepared images."""

    max_gb: float = Field(default=8.0, gt=0, description="largest size on disk")
    workers: int = Field(default=0, ge=0, description="decoding processes; 0: as many as there are cores")
    max_failed_share: float = Field(
        default=0.05, ge=0, le=1, description="share of unreadable images that stops the run"
    )
    folder: Path | None = Field(
        default=None, description="where it lies and stays, so that several runs share it; default: in the run folder"
    )
    keep: bool = Field(default=False, description="leave the store in the run folder when the run is done")


class CalibrationOptions(Options):
    """How scores become probabilities, fitted on the validation split."""

    method: CalibrationMethod = Field(
        default="temperature",
        description="one factor of the logit; `platt` also a shift, for each class where classes exclude each other "
        "(vector scaling); `isotonic` any rising line; or none",
    )


class BudgetOptions(Options):
    """How a network with exits or gates may be run for less work, fitted on the validation split."""

    gate_thresholds: tuple[float, ...] = Field(
        default=(0.0, 0.25, 0.5, 0.75, 0.9), min_length=1, description="tried for networks with gates; 0 opens all"
    )
    max_fall: float = Field(
        default=0.05, ge=0, le=1, description="largest fall of a group's sensitivity against the whole network"
    )
    on_fall: Literal["warn", "refuse"] = Field(
        default="warn", description="what becomes of a budget at which a group falls further than that"
    )
    timed_images: int = Field(default=32, ge=0, description="held-out images that are timed one by one")


class ReportOptions(Options):
    """What the HTML report shows besides numbers."""

    examples: int = Field(default=12, ge=0, le=48, description="images with their evidence maps")
    groups: tuple[str, ...] = Field(
        default=("sex", "age", "view", "site"), description="attributes to audit by, where the cohort has them"
    )
    references: Path | None = Field(
        default=None, description="table of boxes or folder of masks that evidence maps are scored against"
    )
    readings: Path | None = Field(
        default=None, description="table of what readers said of validation and test images, judged beside the model"
    )
    label_randomisation: bool = Field(
        default=False,
        description="also train a network on permuted labels, whose maps must be others: about doubles the time",
    )


_RULES = (
    OperatingRule(name="youden", kind="youden"),
    OperatingRule(name="high sensitivity", kind="sensitivity", value=0.95),
    OperatingRule(name="high specificity", kind="specificity", value=0.95),
)


class ExperimentSettings(Options):
    """One experiment, from images to report."""

    name: str = "experiment"
    intended_use: str = Field(
        default="", description="what the model is for, in the words of its maker; goes into the bundle"
    )
    cohort: CohortOptions
    split: SplitOptions = Field(default_factory=SplitOptions)
    recipe: Recipe = Field(default_factory=Recipe)
    augmentation: Augmentation = Field(default_factory=Augmentation)
    model: ModelOptions = Field(default_factory=ModelOptions)
    training: TrainingOptions = Field(default_factory=TrainingOptions)
    calibration: CalibrationOptions = Field(default_factory=CalibrationOptions)
    conformal: ConformalOptions = Field(default_factory=ConformalOptions)
    operating_points: tuple[OperatingRule, ...] = _RULES
    evaluation: EvaluationOptions = Field(default_factory=EvaluationOptions)
    store: StoreOptions = Field(default_factory=StoreOptions)
    budget: BudgetOptions = Field(default_factory=BudgetOptions)
    report: ReportOptions = Field(default_factory=ReportOptions)
    folds: int = Field(
        default=0, ge=0, le=20, description="k-fold cross-validation outside the test split; 0: one split"
    )
    members: int = Field(default=1, ge=1, le=20, description="networks trained with different seeds and averaged")

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentSettings:
        if self.folds == 1:
            raise ValueError("folds is 0 (one split) or at least 2")
        if self.folds and self.members > 1:
            raise ValueError("either folds or members, as each fold is a member of the ensemble already")
        names = tuple(modality.name for modality in self.recipe.modalities)
        if self.cohort.modalities not in ((), names):
            raise ValueError("cohort.modalities left away, or the names of recipe.modalities in the same order")
        if names and (self.augmentation.hue_deg or self.augmentation.saturation):
            raise ValueError("no change of colours where the channels are modalities")
        return self
