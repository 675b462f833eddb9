"""What answering only when sure is worth: risk against coverage (Geifman & El-Yaniv, NeurIPS 2017).

Images are answered in the order of the model's confidence; the risk at a coverage is the share of wrong answers among
the answered. AURC is its mean over all coverages; E-AURC what is lost against the best possible order (Geifman et al.,
ICLR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array, eye_array

from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import Statistic, bootstrap, with_percentiles
from resight.settings import plain
from resight.types import MetricValue, Scores, Task

_SHOWN = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
"""Coverages whose risk is given with an interval."""


@dataclass(frozen=True)
class RiskCoverage:
    """Risk of answering the surest images alone.

    Attributes:
        coverage: `(n,)` share of images answered, rising.
        risk: `(n,)` share of wrong answers among them.
        aurc: area under the curve; small is good.
        excess: AURC less that of the order that answers all right images first.
        at: risk at some coverages, with intervals; exact ones where nothing, or everything, answered is wrong.
        gain: risk at full coverage less risk at half coverage; above 0 confidence tells right from wrong.
        rises: risk at a coverage less that at the next larger one, by the smaller one: above 0 where answering fewer
            images makes more of the answers wrong. The intervals hold for all steps together (Bonferroni).
    """

    coverage: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]
    aurc: MetricValue
    excess: MetricValue
    at: dict[float, MetricValue]
    gain: MetricValue
    rises: dict[float, MetricValue]

    @property
    def misleads(self) -> bool:
        """Whether at some step more of the surer answers are wrong than chance explains."""
        return any(rise.low > 0 for rise in self.rises.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: areas and risks; curve and rises follow from the predictions."""
        at = {f"{key:g}": value for key, value in self.at.items()}
        return plain({"aurc": self.aurc, "excess": self.excess, "gain": self.gain, "risk_at_coverage": at})


def confidence_of(probabilities: Scores, task: Task) -> Float[np.ndarray, "N K"]:
    """How sure the model is: of its class `(N, 1)` for a multiclass task, otherwise of each label `(N, L)`."""
    if task == "multiclass":
        return probabilities.max(axis=1, keepdims=True)
    return np.maximum(probabilities, 1 - probabilities)


def risk_coverage(
    confidence: Float[np.ndarray, " n"],
    wrong: Bool[np.ndarray, " n"],
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> RiskCoverage:
    """Curve and areas, with bootstrap intervals by patient.

    Images of equal confidence are answered together: each carries the mean risk of its group.

    Args:
        confidence: higher is answered sooner; any scale.
        wrong: whether the answer is wrong.
        patients: number of the patient of each image.
        replicates: of the bootstrap; 0 leaves intervals away.
        seed: of the bootstrap.
        level: coverage of the intervals.
    """
    n = len(confidence)
    if n == 0:
        nothing = MetricValue.undefined("no images")
        return RiskCoverage(np.empty(0), np.empty(0), nothing, nothing, {}, nothing, {})
    order = np.argsort(-confidence, kind="stable")
    ranked, mistakes = confidence[order], wrong[order].astype(np.float64)
    ends = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]]))
    statistic = Statistic(csr_array(eye_array(n)), lambda weights: _areas(weights, mistakes, ends))
    owner = np.arange(n) if patients is None else np.unique(patients, return_inverse=True)[1]
    count = int(owner.max()) + 1
    statistic = statistic.by_patient(owner[order], count)
    values = statistic.estimate()
    (drawn,) = bootstrap([statistic], count, replicates=replicates, seed=seed) if replicates else ({},)

    def value(name: str, level: float = level) -> MetricValue:
        found = MetricValue(values[name], n=n)
        return with_percentiles(found, drawn[name], level) if replicates else found

    answered = ends + 1

    def risk_at(share: float) -> MetricValue:
        found = value(f"risk {share:g}")
        if found.value in (0.0, 1.0) and replicates:  # no draw of the bootstrap knows anything else
            rows = slice(answered[np.argmax(answered >= share * n - 1e-9)])
            found = replace(proportion(mistakes[rows], owner[order][rows], confidence=level), n=n)
        return found

    return RiskCoverage(
        coverage=answered / n,
        risk=np.cumsum(mistakes)[ends] / answered,
        aurc=value("aurc"),
        excess=value("excess"),
        at={share: risk_at(share) for share in _SHOWN.tolist()},
        gain=value("gain"),
        rises={share: value(f"rise {share:g}", 1 - (1 - level) / (len(_SHOWN) - 1)) for share in _SHOWN[:-1].tolist()},
    )


def _areas(
    weights: Float[np.ndarray, "n R"], mistakes: Float[np.ndarray, " n"], ends: Int[np.ndarray, " g"]
) -> dict[str, Float[np.ndarray, " R"]]:
    """Areas and risks of images that count `weights` times, in the order of confidence."""
    answered = np.cumsum(weights, axis=0)[ends]
    errors = np.cumsum(weights * mistakes[:, None], axis=0)[ends]
    total, wrong = answered[-1], errors[-1]
    width = np.diff(answered, axis=0, prepend=0.0)
    risk = errors / np.where(answered > 0, answered, np.nan)
    aurc = np.nansum(risk * width, axis=0) / total
    rate = wrong / total
    best = rate + (1 - rate) * np.log(np.where(rate < 1, 1 - rate, 1.0))  # all right images first, in the limit
    at = {f"risk {share:g}": _risk_at(risk, answered, share * total) for share in _SHOWN}
    rises = {f"rise {less:g}": at[f"risk {less:g}"] - at[f"risk {more:g}"] for less, more in pairwise(_SHOWN)}
    return {"aurc": aurc, "excess": aurc - best, **at, "gain": at["risk 1"] - at["risk 0.5"], **rises}


def _risk_at(
    risk: Float[np.ndarray, "g R"], answered: Float[np.ndarray, "g R"], wanted: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    place = np.argmax(answered >= wanted - 1e-9, axis=0)
    return risk[place, np.arange(risk.shape[1])]
