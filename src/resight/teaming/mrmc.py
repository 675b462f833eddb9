"""Several readers, several cases, two or more arms: Obuchowski & Rockette's analysis of variance.

Obuchowski & Rockette, Commun. Stat. Simul. 1995; degrees of freedom and the cut at 0 after Hillis, Stat. Med. 2007
(equations 12 to 16); error covariances by DeLong's method over patients (`resight.evaluation.delong`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import chi2, f, t

from resight.evaluation import delong
from resight.types import MetricValue

Figure = Literal["auroc", "sensitivity", "specificity"]
Inference = Literal["readers and cases", "cases", "readers"]
"""What the conclusion holds for: other readers and other cases; these readers and other cases; other readers only."""


@dataclass(frozen=True)
class ErrorVariance:
    """Variance of a reader's figure over samples of cases, and covariances of two figures.

    Attributes:
        variance: of one figure.
        same_reader: Cov1, same reader in different arms.
        same_arm: Cov2, different readers in the same arm.
        different: Cov3, different readers in different arms.
        same_arm_each: Cov2 of each arm.
    """

    variance: float
    same_reader: float
    same_arm: float
    different: float
    same_arm_each: tuple[float, ...]


@dataclass(frozen=True)
class ArmTest:
    """Do the arms differ?

    Attributes:
        generalises_to: see `Inference`.
        statistic: F, or chi-squared over its degrees of freedom for fixed readers.
        df: of numerator and denominator; the denominator is infinite for fixed readers.
        p: that all arms are equal.
        differences: every pair of arms, the later less the earlier, with intervals.
        undefined_because: why there is no test; empty otherwise.
    """

    generalises_to: Inference
    statistic: float
    df: tuple[float, float]
    p: float
    differences: dict[tuple[int, int], MetricValue]
    undefined_because: str = ""


@dataclass(frozen=True)
class MultiReader:
    """Analysis of a fully crossed study.

    Attributes:
        figures: `(I, J)` figure of merit of each arm and reader.
        arms: mean over readers of each arm, with intervals for other readers and other cases.
        errors: error variance and covariances.
        tests: one for each kind of inference.
        cases: images all readers read in all arms.
        positives: among them.
    """

    figures: Float[np.ndarray, "I J"]
    arms: tuple[MetricValue, ...]
    errors: ErrorVariance
    tests: tuple[ArmTest, ...]
    cases: int
    positives: int


def analyse(
    ratings: Float[np.ndarray, "I J N"],
    targets: Float[np.ndarray, " N"],
    patients: Int[np.ndarray, " N"] | None = None,
    *,
    figure: Figure = "auroc",
    confidence: float = 0.95,
) -> MultiReader:
    """Compare arms of a study in which every reader reads every case in every arm.

    Args:
        ratings: of I arms, J readers and N cases, without gaps; 0 and 1 for sensitivity and specificity.
        targets: reference standard, 0 or 1.
        patients: number of the patient of each case; each case its own patient when not given.
        figure: what is compared.
        confidence: of the intervals.

    Raises:
        ValueError: fewer than two readers, gaps, or no positive or no negative case.
    """
    arms, readers, cases = ratings.shape
    positives = int((targets > 0).sum())
    if readers < 2:
        raise ValueError(f"{readers} reader; at least 2 are needed")
    if np.isnan(ratings).any():
        raise ValueError("readings are missing")
    if not 0 < positives < cases:
        raise ValueError(f"{positives} of {cases} cases are positive; both kinds are needed")
    flat = ratings.reshape(arms * readers, cases)
    values, covariance = _FIGURES[figure](flat, targets, patients)
    figures = values.reshape(arms, readers)
    errors = _averaged(covariance, arms, readers)
    kinds: tuple[Inference, ...] = ("readers and cases", "cases", "readers")
    return MultiReader(
        figures=figures,
        arms=tuple(_arm(figures[i], errors.same_arm_each[i], cases, confidence) for i in range(arms)),
        errors=errors,
        tests=tuple(arm_test(figures, errors, kind, cases=cases, confidence=confidence) for kind in kinds),
        cases=cases,
        positives=positives,
    )


def arm_test(
    figures: Float[np.ndarray, "I J"],
    errors: ErrorVariance,
    kind: Inference,
    *,
    cases: int = 0,
    confidence: float = 0.95,
) -> ArmTest:
    """Test of equal arms from figures of merit and their error variance.

    Args:
        figures: of each arm and reader.
        errors: see `ErrorVariance`.
        kind: what the conclusion shall hold for.
        cases: how many cases the figures rest on, for the record.
        confidence: of the intervals.
    """
    arms, readers = figures.shape
    if arms < 2:
        return ArmTest(kind, math.nan, (math.nan, math.nan), math.nan, {}, "one arm; two are needed")
    between = readers * float(figures.mean(axis=1).var(ddof=1))
    residual = figures - figures.mean(axis=1, keepdims=True) - figures.mean(axis=0) + figures.mean()
    interaction_df = (arms - 1) * (readers - 1)
    interaction = float((residual**2).sum()) / interaction_df
    shared = readers * max(errors.same_arm - errors.different, 0.0)
    if kind == "readers and cases":
        spread = interaction + shared
        df = spread**2 / (interaction**2 / interaction_df) if interaction > 0 else math.inf
    elif kind == "cases":
        spread = errors.variance - errors.same_reader + (readers - 1) / readers * shared
        df = math.inf
    else:
        spread, df = interaction, float(interaction_df)
    if math.isnan(spread) or spread <= np.finfo(float).eps:
        reason = "the arms differ alike for every reader, so there is no variance to judge by"
        if math.isnan(spread):
            reason = "one patient holds all positives or all negatives, so how cases vary is not known"
        return ArmTest(kind, math.nan, (arms - 1, df), math.nan, {}, reason)
    statistic = between / spread
    p = chi2.sf((arms - 1) * statistic, arms - 1) if math.isinf(df) else f.sf(statistic, arms - 1, df)
    half = float(t.isf((1 - confidence) / 2, df)) * math.sqrt(2 / readers * spread)
    means = figures.mean(axis=1)
    pairs = [(i, k) for i in range(arms) for k in range(i + 1, arms)]
    name = f"Obuchowski-Rockette, {kind}"
    return ArmTest(
        kind,
        statistic,
        (arms - 1, df),
        float(p),
        {(i, k): _interval(float(means[k] - means[i]), half, cases, name) for i, k in pairs},
    )


def _arm(figures: Float[np.ndarray, " J"], same_arm: float, cases: int, confidence: float) -> MetricValue:
    """Mean over readers, with an interval for other readers and other cases (Hillis 2007, section 4)."""
    readers = len(figures)
    between = float(figures.var(ddof=1))
    spread = between + readers * max(same_arm, 0.0)
    if spread <= 0:
        return MetricValue(float(figures.mean()), n=cases)
    df = spread**2 / (between**2 / (readers - 1)) if between > 0 else math.inf
    half = float(t.isf((1 - confidence) / 2, df)) * math.sqrt(spread / readers)
    mean = float(figures.mean())
    return MetricValue(
        mean, max(0.0, mean - half), min(1.0, mean + half), cases, interval="Obuchowski-Rockette, readers and cases"
    )


def _interval(value: float, half: float, cases: int, name: str) -> MetricValue:
    return MetricValue(value, value - half, value + half, cases, interval=name)


def _averaged(covariance: Float[np.ndarray, "M M"], arms: int, readers: int) -> ErrorVariance:
    of = covariance.reshape(arms, readers, arms, readers)
    arm, reader = np.eye(arms, dtype=bool), np.eye(readers, dtype=bool)
    same_arm, same_reader = arm[:, None, :, None], reader[None, :, None, :]
    each = tuple(float(of[i, :, i, :][~reader].mean()) for i in range(arms))

    def mean(where: np.ndarray) -> float:
        chosen = np.broadcast_to(where, of.shape)
        return float(of[chosen].mean()) if chosen.any() else math.nan

    return ErrorVariance(
        variance=mean(same_arm & same_reader),
        same_reader=mean(~same_arm & same_reader),
        same_arm=mean(same_arm & ~same_reader),
        different=mean(~same_arm & ~same_reader),
        same_arm_each=each,
    )


def _auroc(
    ratings: Float[np.ndarray, "M N"], targets: Float[np.ndarray, " N"], patients: Int[np.ndarray, " N"] | None
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, "M M"]]:
    found = delong(targets, ratings, patients)
    return found.auroc, found.covariance


def _rate(positive: bool) -> Callable[..., tuple[Float[np.ndarray, " M"], Float[np.ndarray, "M M"]]]:
    """Sensitivity or specificity and the covariance of its ratio estimator over patients."""

    def rate(
        decisions: Float[np.ndarray, "M N"], targets: Float[np.ndarray, " N"], patients: Int[np.ndarray, " N"] | None
    ) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, "M M"]]:
        rows = (targets > 0) == positive
        right = (decisions[:, rows] > 0) == positive
        values = right.mean(axis=1)
        owner = np.arange(int(rows.sum())) if patients is None else np.unique(patients[rows], return_inverse=True)[1]
        count = int(owner.max()) + 1
        if count < 2:
            return values, np.full((len(values),) * 2, np.nan)
        residual = np.stack([np.bincount(owner, row, minlength=count) for row in right - values[:, None]])
        return values, count / (count - 1) * residual @ residual.T / len(owner) ** 2

    return rate


_FIGURES = {"auroc": _auroc, "sensitivity": _rate(True), "specificity": _rate(False)}
