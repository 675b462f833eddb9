"""The promise of a deferral policy: fitted on tuning readings, it says for every image who decides and what.

Two actions come from the model alone (call negative, call positive) and one from people (read); policies that ask a
second person say so in `opinions_per_image`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from resight.registry import Registry

Values = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Cases:
    """Readings of one label with the model's answer beside each: n rows, one a reader and image.

    Attributes:
        probabilities: of the model, calibrated.
        model_decisions: 0 or 1 at the model's operating point.
        opinions: 0 or 1 by the reader of the row.
        second_opinions: 0 or 1 by another reader of the same image; NaN where there is none.
        targets: reference standard, 0 or 1.
        patients: name of the patient of each row.
    """

    probabilities: Values
    model_decisions: Values
    opinions: Values
    second_opinions: Values
    targets: Values
    patients: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class TeamDecisions:
    """What model and people decide together.

    Attributes:
        decisions: 0 or 1; NaN where a second opinion would be needed and nobody gave one.
        readings: how many people looked at each image.
    """

    decisions: Values
    readings: Values


class DeferralPolicy(ABC):
    """Base of all policies."""

    @abstractmethod
    def fit(self, tuning: Cases) -> DeferralPolicy:
        """Choose what is free from tuning readings, which must not be the test readings; returns itself.

        Raises:
            PredictionsError: the tuning readings lack positives or negatives.
        """

    @abstractmethod
    def decide(self, cases: Cases) -> TeamDecisions:
        """Decide; targets are not looked at."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What was chosen, in plain values for JSON."""

    def trade_offs(self) -> tuple[ActionTable, ...]:
        """What it could have chosen on the same tuning readings, from specific to sensitive; empty where nothing."""
        return ()


class PolicyBuilder(Protocol):
    """Builds an unfitted policy; `options` is an instance of the class the member was registered with."""

    def __call__(self, options: Any, /) -> DeferralPolicy:
        """Build the policy."""
        ...


POLICIES: Registry[PolicyBuilder] = Registry("deferral policy", "resight.teaming")


def build_policy(name: str, **options: Any) -> DeferralPolicy:
    """Build a policy by name.

    Args:
        name: registered name, for example `"learned"`.
        **options: the member's options.

    Raises:
        SettingsError: unknown name, unknown option or impossible value.
    """
    return POLICIES.build(name, options)


@dataclass(frozen=True)
class ActionTable:
    """Who decides at which probability: K intervals with one action each.

    Attributes:
        starts: `(K,)` lowest probability of each interval, rising; the first is 0.
        actions: `(K,)` 0 the model calls it negative, 1 the model calls it positive, 2 people read.
    """

    starts: Float[np.ndarray, " K"]
    actions: Float[np.ndarray, " K"]

    def decide(self, cases: Cases) -> TeamDecisions:
        """The action of the interval that each probability lies in."""
        place = np.searchsorted(self.starts, cases.probabilities, side="right") - 1
        action = self.actions[np.clip(place, 0, None)]
        read: Bool[np.ndarray, " n"] = action == 2
        return TeamDecisions(np.where(read, cases.opinions, action), read.astype(np.float64))

    def describe(self) -> list[dict[str, float | str]]:
        """The intervals in words, neighbours with the same action joined."""
        words = ("model says negative", "model says positive", "people read")
        first = np.flatnonzero(np.concatenate([[True], np.diff(self.actions) != 0]))
        return [{"from": float(self.starts[i]), "action": words[int(self.actions[i])]} for i in first]
