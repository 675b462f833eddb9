"""The model as second reader: one person reads every image, another one only where reader and model disagree."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from resight.settings import Options
from resight.teaming.base import POLICIES, Cases, DeferralPolicy, TeamDecisions


class SecondReaderOptions(Options):
    """Double reading with the model as one of the two readers."""

    settle: Literal["arbiter", "either", "both"] = Field(
        default="arbiter",
        description="disagreement is settled by another reader, or called positive where either or both say so",
    )


@POLICIES.register("second_reader", SecondReaderOptions)
class SecondReader(DeferralPolicy):
    """Agreement stands; disagreement is settled. Nothing is fitted."""

    def __init__(self, options: SecondReaderOptions) -> None:
        self.options = options

    def fit(self, tuning: Cases) -> DeferralPolicy:
        """Nothing is free."""
        del tuning
        return self

    def decide(self, cases: Cases) -> TeamDecisions:
        """Reader and model, and a second person where they differ."""
        one = np.ones(len(cases))
        if self.options.settle == "either":
            return TeamDecisions(np.maximum(cases.opinions, cases.model_decisions), one)
        if self.options.settle == "both":
            return TeamDecisions(np.minimum(cases.opinions, cases.model_decisions), one)
        differ = cases.opinions != cases.model_decisions
        return TeamDecisions(np.where(differ, cases.second_opinions, cases.opinions), one + differ)

    def describe(self) -> dict[str, Any]:
        """How disagreement is settled."""
        return {"settle": self.options.settle}
