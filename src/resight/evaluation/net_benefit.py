"""Decision curves: is acting on the model better than treating everybody, or nobody? (Vickers & Elkin 2006).

Net benefit counts true positives per image, less false positives weighed by the odds of the threshold: who acts at a
probability of 10 % holds a false alarm for 1/9 as bad as a missed case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resight.evaluation.discrimination import Binary, Values


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each threshold probability; treating nobody is 0 everywhere.

    Attributes:
        threshold: probability at which one would act.
        model: acting where the model's probability is at or above it.
        treat_all: acting on every image.
    """

    threshold: Values
    model: Values
    treat_all: Values


def decision_curve(targets: Binary, probabilities: Values, thresholds: Values | None = None) -> DecisionCurve:
    """Net benefit of a model over thresholds.

    Args:
        targets: 0 or 1; NaN comes back where there are no rows.
        probabilities: calibrated, in [0, 1].
        thresholds: between 0 and 1, both excluded; 0.01 to 0.99 when not given.
    """
    cut = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    positive, n = np.asarray(targets) > 0, len(targets)
    if n == 0:
        return DecisionCurve(cut, np.full(len(cut), np.nan), np.full(len(cut), np.nan))
    true = positive.sum() - np.searchsorted(np.sort(probabilities[positive]), cut)
    false = (~positive).sum() - np.searchsorted(np.sort(probabilities[~positive]), cut)
    odds = cut / (1 - cut)
    prevalence = float(positive.mean())
    return DecisionCurve(cut, true / n - false / n * odds, prevalence - (1 - prevalence) * odds)
