"""A finished reader study in numbers: arms compared for other readers and cases, agreement, automation bias, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import t

from resight.evaluation import patient_index
from resight.settings import plain
from resight.teaming.agreement import AutomationBias, automation_bias, fleiss_kappa, mean_pairwise_kappa
from resight.teaming.mrmc import Figure, MultiReader, analyse
from resight.teaming.readings import UNAIDED, Readings
from resight.teaming.study_design import AIDED
from resight.types import MetricValue


@dataclass(frozen=True)
class StudyResult:
    """One label of a reader study.

    Attributes:
        label: its name.
        arms: names, in the order of the analyses.
        figures: analysis of variance of `auroc` (where readings hold ratings), `sensitivity` and `specificity`.
        undefined: why a figure has no analysis.
        agreement: Fleiss' kappa of each arm, and `<arm>, pairs`: mean of Cohen's kappas.
        automation: how readers follow the model; None without the arms `unaided` and `aided` or a model's decisions.
        seconds: mean reading time of each arm over readers, and `aided - unaided`.
        cases: images that every reader read in every arm.
        left_out: images with a missing reading or target.
    """

    label: str
    arms: tuple[str, ...]
    figures: Mapping[str, MultiReader]
    undefined: Mapping[str, str]
    agreement: Mapping[str, MetricValue]
    automation: AutomationBias | None
    seconds: Mapping[str, MetricValue]
    cases: int
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        figures = {
            name: {
                "figures": result.figures,
                "arms": result.arms,
                "errors": result.errors,
                "tests": [
                    {**vars(test), "differences": [[*pair, value] for pair, value in test.differences.items()]}
                    for test in result.tests
                ],
                "cases": result.cases,
                "positives": result.positives,
            }
            for name, result in self.figures.items()
        }
        return plain({**vars(self), "figures": figures})


def analyse_study(
    readings: Readings, label: str, *, replicates: int = 1000, seed: int = 0, confidence: float = 0.95
) -> StudyResult:
    """Analyse one label.

    Args:
        readings: with targets, and with the model's decisions where automation bias is asked for.
        label: which one.
        replicates: of the bootstrap of kappa.
        seed: of the bootstrap.
        confidence: of all intervals.

    Raises:
        PredictionsError: nobody read the label.
    """
    part = readings.of(label)
    table = part.table
    arms = tuple(sorted(part.arms, key=lambda arm: (arm != UNAIDED, arm)))
    one_each = table.drop_duplicates("image").sort_values("image", kind="stable")
    images = one_each["image"].to_numpy(dtype=object)
    targets = (
        one_each["target"].to_numpy(dtype=np.float64) if "target" in table.columns else np.full(len(images), np.nan)
    )
    patients, _ = patient_index(Readings.patients(Readings(one_each, (label,), part.readers, arms)))
    stacks = {
        column: np.stack([part.matrix(column, images, arm) for arm in arms])
        for column in ("rating", "decision", "seconds")
        if column in table.columns
    }
    figures: dict[str, MultiReader] = {}
    undefined: dict[str, str] = {}
    cases = 0
    sources: tuple[tuple[Figure, str], ...] = (
        ("auroc", "rating"),
        ("sensitivity", "decision"),
        ("specificity", "decision"),
    )
    for figure, column in sources:
        if column not in stacks or np.isnan(stacks[column]).all():
            undefined[figure] = f"readings hold no {column}"
            continue
        complete = _complete(stacks[column], targets)
        cases = max(cases, int(complete.sum()))
        try:
            figures[figure] = analyse(
                stacks[column][:, :, complete],
                targets[complete],
                patients[complete],
                figure=figure,
                confidence=confidence,
            )
        except ValueError as error:
            undefined[figure] = f"{error} ({int(complete.sum())} of {len(images)} images are complete)"
    return StudyResult(
        label=label,
        arms=arms,
        figures=figures,
        undefined=undefined,
        agreement=_agreement(stacks.get("decision"), arms, patients, replicates, seed, confidence),
        automation=_automation(part, stacks.get("decision"), arms, images, targets, patients, confidence),
        seconds=_seconds(stacks.get("seconds"), arms, confidence),
        cases=cases,
        left_out=len(images) - cases,
    )


def _complete(stack: Float[np.ndarray, "I J N"], targets: Float[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
    return ~np.isnan(stack).any(axis=(0, 1)) & np.isin(targets, [0.0, 1.0])


def _agreement(
    decisions: Float[np.ndarray, "I J N"] | None,
    arms: tuple[str, ...],
    patients: np.ndarray,
    replicates: int,
    seed: int,
    confidence: float,
) -> dict[str, MetricValue]:
    if decisions is None:
        return {}
    found: dict[str, MetricValue] = {}
    for arm, of_arm in zip(arms, decisions, strict=True):
        found[arm] = fleiss_kappa(of_arm, patients, replicates=replicates, seed=seed, confidence=confidence)
        found[f"{arm}, pairs"] = mean_pairwise_kappa(of_arm)
    return found


def _automation(
    part: Readings,
    decisions: Float[np.ndarray, "I J N"] | None,
    arms: tuple[str, ...],
    images: np.ndarray,
    targets: Float[np.ndarray, " N"],
    patients: np.ndarray,
    confidence: float,
) -> AutomationBias | None:
    if decisions is None or not {UNAIDED, AIDED} <= set(arms) or "model_decision" not in part.table.columns:
        return None
    of_image = part.table.drop_duplicates("image").set_index("image")["model_decision"]
    model = of_image.reindex(list(images)).to_numpy(dtype=np.float64)
    unaided, aided = (decisions[arms.index(arm)] for arm in (UNAIDED, AIDED))
    return automation_bias(unaided, aided, model, targets, patients, confidence=confidence)


def _seconds(
    seconds: Float[np.ndarray, "I J N"] | None, arms: tuple[str, ...], confidence: float
) -> dict[str, MetricValue]:
    """Means over each reader's readings, then over readers, with Student's interval for other readers."""
    if seconds is None or np.isnan(seconds).all():
        return {}
    counts = (~np.isnan(seconds)).sum(axis=2)
    each = np.where(counts > 0, np.nansum(seconds, axis=2) / np.maximum(counts, 1), np.nan)
    found = {arm: _over_readers(of_arm, confidence) for arm, of_arm in zip(arms, each, strict=True)}
    if {UNAIDED, AIDED} <= set(arms):
        difference = each[arms.index(AIDED)] - each[arms.index(UNAIDED)]
        found[f"{AIDED} - {UNAIDED}"] = _over_readers(difference, confidence)
    return found


def _over_readers(values: Float[np.ndarray, " J"], confidence: float) -> MetricValue:
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return MetricValue.undefined(f"{len(known)} readers with times; 2 are needed", len(known))
    half = float(t.isf((1 - confidence) / 2, len(known) - 1)) * float(known.std(ddof=1) / np.sqrt(len(known)))
    mean = float(known.mean())
    return MetricValue(mean, mean - half, mean + half, len(known), interval="Student over readers")
