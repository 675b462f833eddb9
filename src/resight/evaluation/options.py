"""What an evaluation or a comparison may be asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from resight.settings import Options

Share = Annotated[float, Field(gt=0, lt=1)]


class EvaluationOptions(Options):
    """Intervals, bins and fixed points of an evaluation."""

    bootstrap: int = Field(default=1000, ge=0, description="replicates by patient; 0 leaves bootstrap intervals out")
    seed: int = Field(default=0, ge=0, description="seed of the bootstrap and of the folds of the metadata baseline")
    confidence: Share = Field(default=0.95, description="coverage of every interval")
    auroc_interval: Literal["delong", "logit", "bootstrap"] = Field(
        default="logit", description="DeLong on the logit scale (covers better near 1), DeLong as it is, or bootstrap"
    )
    at_specificity: tuple[Share, ...] = Field(
        default=(0.9,), description="report the sensitivity at these specificities"
    )
    at_sensitivity: tuple[Share, ...] = Field(
        default=(0.9,), description="report the specificity at these sensitivities"
    )
    partial_fpr: Share = Field(default=0.1, description="partial AUROC up to this false positive rate")
    ece_bins: int = Field(
        default=15, ge=1, le=1000, description="bins of the calibration error and the reliability curve"
    )
    ece_binning: Literal["width", "mass"] = Field(default="width", description="bins of equal width or of equal mass")
    curve_points: int = Field(default=400, ge=10, description="most points kept of each curve")
    split: str | None = Field(
        default=None, description="split to evaluate; unset: test where the table has one, else all rows"
    )
    baselines: bool = Field(default=True, description="also evaluate what needs no image")
    metadata: tuple[str, ...] | None = Field(
        default=None, description="columns of the metadata baseline; unset: every attribute with few values or numbers"
    )
