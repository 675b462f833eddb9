"""Triage by bands: the model settles the images it is surest of, people read those between."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from resight.errors import PredictionsError
from resight.evaluation import OperatingRule, choose_operating_points
from resight.settings import Options
from resight.teaming.base import POLICIES, ActionTable, Cases, DeferralPolicy, TeamDecisions

_KEPT = np.linspace(0.5, 1.0, 51)
"""Shares of positives above the lower end that are tried beside the one asked for."""


class BandOptions(Options):
    """The model rules out below one probability and rules in above another; people read the band between."""

    rule_out_sensitivity: float = Field(
        default=0.99, gt=0, le=1, description="share of positives that must lie above the lower end"
    )
    rule_in_specificity: float | None = Field(
        default=0.99, gt=0, le=1, description="share of negatives that must lie below the upper end; none: no ruling in"
    )


@POLICIES.register("band", BandOptions)
class Band(DeferralPolicy):
    """Two thresholds on the probability, chosen on tuning images as operating points are."""

    def __init__(self, options: BandOptions) -> None:
        self.options = options
        self.table = ActionTable(np.zeros(1), np.full(1, 2.0))
        self.tried: tuple[ActionTable, ...] = ()

    def fit(self, tuning: Cases) -> DeferralPolicy:
        """Choose both thresholds, and those that would have kept other sensitivities."""
        require_both_kinds(tuning)
        asked = self.options.rule_out_sensitivity
        self.table = self._table(tuning, asked)
        self.tried = tuple(self._table(tuning, kept) for kept in sorted({*_KEPT.tolist(), asked}))
        return self

    def _table(self, tuning: Cases, kept: float) -> ActionTable:
        rules = [OperatingRule(kind="sensitivity", value=kept, name="out")]
        if self.options.rule_in_specificity is not None:
            rules.append(OperatingRule(kind="specificity", value=self.options.rule_in_specificity, name="in"))
        columns = (tuning.probabilities[:, None], tuning.targets[:, None], np.ones((len(tuning), 1), dtype=bool))
        cut = [point.threshold for point in choose_operating_points(*columns, ("label",), rules)]
        if len(cut) == 1 or cut[1] <= cut[0]:  # bands that overlap leave ruling out alone: missing is worse
            return ActionTable(np.array([0.0, cut[0]]), np.array([0.0, 2.0]))
        return ActionTable(np.array([0.0, *cut]), np.array([0.0, 2.0, 1.0]))

    def trade_offs(self) -> tuple[ActionTable, ...]:
        """Bands that keep half of the positives to all of them."""
        return self.tried

    def decide(self, cases: Cases) -> TeamDecisions:
        """The model outside the band, the reader within."""
        return self.table.decide(cases)

    def describe(self) -> dict[str, Any]:
        """Where the bands lie."""
        return {"bands": self.table.describe()}


def require_both_kinds(tuning: Cases) -> None:
    """Refuse tuning readings that cannot teach.

    Raises:
        PredictionsError: no positives or no negatives.
    """
    positives = int((tuning.targets > 0).sum())
    if not 0 < positives < len(tuning):
        found = f"{positives} positives among {len(tuning)} readings"
        raise PredictionsError(found, where="tuning readings", expected="positives and negatives")
