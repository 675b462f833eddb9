"""Learned deferral: who is likelier to be right at this score, the model or the reader?

After CoDoC (Dvijotham et al., Nature Medicine 2023, "Enhancing the reliability and accuracy of AI-enabled diagnosis via
complementarity-driven deferral to clinicians"): only scores, opinions and the reference standard are needed. How often
the label is present, and how often readers call it present where it is and where it is not, are smoothed over the
score; at each score the action with the least expected cost is taken. Which cost a missed positive has is chosen on the
tuning readings so that the team is no less sensitive than the readers are alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from scipy.stats import rankdata

from resight.settings import Options
from resight.teaming.band import require_both_kinds
from resight.teaming.base import POLICIES, ActionTable, Cases, DeferralPolicy, TeamDecisions, Values

_GRID = 200
"""Places along the ranks of the scores at which an action is chosen."""
_COSTS = np.geomspace(0.1, 100, 61)
"""Costs of a missed positive in false alarms that are tried."""
_SLACK = 1e-9


class LearnedOptions(Options):
    """Expected cost decides, as estimated on tuning readings (CoDoC)."""

    goal: Literal["specificity", "workload"] = Field(
        default="specificity",
        description="what is made best while the team stays as sensitive as the readers: specificity, or few readings "
        "while specificity stays too",
    )
    bandwidth: float = Field(default=0.05, gt=0, le=1, description="of the smoothing, as a share of the tuning images")
    prior: float = Field(default=2.0, ge=0, description="readings' worth of the overall rates mixed into each estimate")
    reading_cost: float = Field(
        default=0.02, ge=0, description="cost of one reading in false alarms, where the goal is workload"
    )


@dataclass(frozen=True)
class _Rates:
    """Smoothed over the score, `(G,)` each: prevalence, and how often readers call positives and negatives positive."""

    starts: Values
    prevalence: Values
    found: Values
    alarmed: Values


@POLICIES.register("learned", LearnedOptions)
class Learned(DeferralPolicy):
    """An action for every interval of scores, chosen by expected cost."""

    def __init__(self, options: LearnedOptions) -> None:
        self.options = options
        self.table = ActionTable(np.zeros(1), np.full(1, 2.0))
        self.cost = float("nan")
        self.tried: tuple[ActionTable, ...] = ()

    def fit(self, tuning: Cases) -> DeferralPolicy:
        """Smooth the rates, then choose the cost of a missed positive."""
        require_both_kinds(tuning)
        rates = _smoothed(tuning, self.options)
        positive = tuning.targets > 0
        least_found = float(tuning.opinions[positive].mean())
        most_alarmed = float(tuning.opinions[~positive].mean())
        reading = self.options.reading_cost if self.options.goal == "workload" else 0.0
        best: tuple[float, float] | None = None
        self.tried = tuple(_cheapest(rates, float(cost), reading) for cost in _COSTS)
        for cost, table in zip(_COSTS, self.tried, strict=True):
            team = table.decide(tuning)
            found = float(team.decisions[positive].mean())
            alarmed = float(team.decisions[~positive].mean())
            if found < least_found - _SLACK:
                continue
            if self.options.goal == "workload" and alarmed > most_alarmed + _SLACK:
                continue
            value = (alarmed, float(team.readings.mean()))
            value = value if self.options.goal == "specificity" else (value[1], value[0])
            if best is None or value < best:
                best, self.table, self.cost = value, table, float(cost)
        return self

    def decide(self, cases: Cases) -> TeamDecisions:
        """The cheapest action at each score."""
        return self.table.decide(cases)

    def trade_offs(self) -> tuple[ActionTable, ...]:
        """The cheapest actions at every cost of a missed positive that was tried."""
        return self.tried

    def describe(self) -> dict[str, Any]:
        """The intervals, and the cost of a missed positive that was chosen; NaN where people read everything."""
        return {"bands": self.table.describe(), "cost_of_a_miss": self.cost}


def _smoothed(tuning: Cases, options: LearnedOptions) -> _Rates:
    """Kernel means along the ranks of the scores, drawn towards the overall rates by the prior."""
    place = (rankdata(tuning.probabilities) - 0.5) / len(tuning)
    at = (np.arange(_GRID) + 0.5) / _GRID
    kernel = np.exp(-0.5 * ((at[:, None] - place) / options.bandwidth) ** 2)
    positive = tuning.targets > 0

    def rate(values: Values, rows: np.ndarray) -> Float[np.ndarray, " G"]:
        weight = kernel[:, rows]
        overall = float(values[rows].mean())
        return (weight @ values[rows] + options.prior * overall) / (weight.sum(axis=1) + options.prior)

    everything = np.ones(len(tuning), dtype=bool)
    starts = np.quantile(tuning.probabilities, np.arange(_GRID) / _GRID)
    starts[0] = 0.0
    return _Rates(
        starts,
        prevalence=rate(positive.astype(np.float64), everything),
        found=rate(tuning.opinions, positive),
        alarmed=rate(tuning.opinions, ~positive),
    )


def _cheapest(rates: _Rates, miss: float, reading: float) -> ActionTable:
    present, absent = rates.prevalence, 1 - rates.prevalence
    costs = np.stack(
        [
            miss * present,
            absent,
            miss * present * (1 - rates.found) + absent * rates.alarmed + reading,
        ]
    )
    return ActionTable(rates.starts, np.argmin(costs, axis=0).astype(np.float64))
