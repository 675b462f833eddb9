"""How far readers agree, and how far they follow the model: kappas and automation bias.

Cohen 1960 and 1968 (quadratic weights), Fleiss 1971 as extended to unequal numbers of readers by Gwet 2014, chapter 2;
errors of commission and omission after Goddard et al., JAMIA 2012.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from resight.evaluation import Statistic, bootstrap, proportion, with_percentiles
from resight.types import MetricValue


def cohen_kappa(
    first: Float[np.ndarray, " N"], second: Float[np.ndarray, " N"], *, weighted: bool = False
) -> MetricValue:
    """Agreement of two readers beyond chance.

    Args:
        first: categories by the first reader; NaN where missing.
        second: by the second.
        weighted: quadratic weights over the sorted categories instead of all or nothing.

    Returns:
        The value; undefined where no image was read by both or both used one and the same category only.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    n = int(both.sum())
    if n == 0:
        return MetricValue.undefined("no image was read by both")
    categories, coded = np.unique(np.concatenate([first[both], second[both]]), return_inverse=True)
    k = len(categories)
    table = np.zeros((k, k))
    np.add.at(table, (coded[:n], coded[n:]), 1 / n)
    steps = np.subtract.outer(np.arange(k), np.arange(k))
    cost = steps.astype(float) ** 2 if weighted else (steps != 0).astype(float)
    expected = float((cost * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    if expected == 0:
        return MetricValue.undefined("both used one and the same category only", n)
    return MetricValue(1 - float((cost * table).sum()) / expected, n=n)


def mean_pairwise_kappa(decisions: Float[np.ndarray, "J N"]) -> MetricValue:
    """Mean of Cohen's kappa over the pairs of readers for which it is defined."""
    pairs = [cohen_kappa(a, b) for a, b in itertools.combinations(decisions, 2)]
    values = [pair.value for pair in pairs if not math.isnan(pair.value)]
    if not values:
        return MetricValue.undefined("no pair of readers has a kappa", len(decisions))
    return MetricValue(float(np.mean(values)), n=len(values))


def fleiss_kappa(
    decisions: Float[np.ndarray, "J N"],
    patients: Int[np.ndarray, " N"],
    *,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> MetricValue:
    """Agreement of all readers beyond chance, with a bootstrap interval by patient.

    Args:
        decisions: 0 or 1; NaN where missing. Images read by one reader alone do not count.
        patients: number of the patient of each image, from 0.
        replicates: of the bootstrap; 0 leaves the interval away.
        seed: of the bootstrap.
        confidence: of the interval.
    """
    read = (~np.isnan(decisions)).sum(axis=0)
    used = read >= 2
    if not used.any():
        return MetricValue.undefined("no image was read by two readers")
    yes = np.nansum(decisions[:, used], axis=0)
    total = read[used]
    agree = (yes * (yes - 1) + (total - yes) * (total - yes - 1)) / (total * (total - 1))
    parts = csr_array(np.stack([agree, yes / total, np.ones(len(total))]))
    n_patients = int(patients.max()) + 1
    statistic = Statistic(parts, _fleiss).by_patient(patients[used], n_patients)
    value = statistic.estimate()["kappa"]
    if math.isnan(value):
        return MetricValue.undefined("all readers used one and the same category only", int(used.sum()))
    found = MetricValue(value, n=int(used.sum()))
    if not replicates:
        return found
    (drawn,) = bootstrap([statistic], n_patients, replicates=replicates, seed=seed)
    return with_percentiles(found, drawn["kappa"], confidence)


@dataclass(frozen=True)
class AutomationBias:
    """How readers move when they see the model's decision.

    Attributes:
        followed_right: share of wrong unaided readings that become right where the model is right.
        followed_wrong: share of right unaided readings that become wrong where the model is wrong.
        commission: share of aided readings that are falsely positive where the model is.
        omission: share of aided readings that are falsely negative where the model is.
        kept_right: share of right unaided readings that stay right where the model is right.
    """

    followed_right: MetricValue
    followed_wrong: MetricValue
    commission: MetricValue
    omission: MetricValue
    kept_right: MetricValue


def automation_bias(
    unaided: Float[np.ndarray, "J N"],
    aided: Float[np.ndarray, "J N"],
    model: Float[np.ndarray, " N"],
    targets: Float[np.ndarray, " N"],
    patients: Int[np.ndarray, " N"],
    *,
    confidence: float = 0.95,
) -> AutomationBias:
    """Rates over the images that a reader read in both arms, with intervals by patient.

    Args:
        unaided: decisions of J readers without the model; NaN where missing.
        aided: of the same readers with it.
        model: the model's decisions.
        targets: reference standard.
        patients: number of the patient of each image.
        confidence: of the intervals.
    """
    known = ~(np.isnan(unaided) | np.isnan(aided)) & ~np.isnan(model) & ~np.isnan(targets)
    before, after = unaided == targets, aided == targets
    model_right = np.broadcast_to(model == targets, before.shape)
    false_alarm = np.broadcast_to((model > 0) & (targets == 0), before.shape)
    missed = np.broadcast_to((model == 0) & (targets > 0), before.shape)
    owner = np.broadcast_to(patients, before.shape)

    def share(success: np.ndarray, among: np.ndarray, reason: str) -> MetricValue:
        rows = known & among
        return proportion(success[rows], owner[rows], confidence=confidence, undefined_because=reason)

    return AutomationBias(
        followed_right=share(after, ~before & model_right, "no wrong unaided reading where the model is right"),
        followed_wrong=share(~after, before & ~model_right, "no right unaided reading where the model is wrong"),
        commission=share(~after, false_alarm, "the model gives no false alarm"),
        omission=share(~after, missed, "the model misses nothing"),
        kept_right=share(after, before & model_right, "no right unaided reading where the model is right"),
    )


def _fleiss(sums: Float[np.ndarray, "K R"]) -> dict[str, Float[np.ndarray, " R"]]:
    agree, yes, count = sums
    share = yes / count
    chance = share**2 + (1 - share) ** 2
    return {"kappa": (agree / count - chance) / (1 - chance)}
