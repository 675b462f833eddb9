"""A team for every label that people read: tuned on the readings of one split, judged on those of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resight.errors import PredictionsError, nearest
from resight.predictions import Predictions
from resight.teaming.base import build_policy
from resight.teaming.readings import UNAIDED, Readings
from resight.teaming.team import TeamResult, evaluate_team, label_cases


@dataclass(frozen=True)
class Teams:
    """What one policy does, label by label.

    Attributes:
        results: of the labels it can be judged on.
        undefined: why it cannot be judged on others.
    """

    results: tuple[TeamResult, ...]
    undefined: Mapping[str, str]

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values for JSON: the results, then what is not estimable."""
        reasons = [{"label": label, "undefined_because": reason} for label, reason in self.undefined.items()]
        return [*(result.to_dict() for result in self.results), *reasons]


def judge_teams(
    predictions: Predictions,
    readings: Readings,
    policy: str,
    options: Mapping[str, Any] | None = None,
    *,
    labels: Sequence[str] | None = None,
    arm: str = UNAIDED,
    tune: str = "validation",
    test: str = "test",
    replicates: int = 1000,
    seed: int = 0,
) -> Teams:
    """Fit a policy for each label and judge it on other patients.

    Args:
        predictions: with `target`, `decision` and `split`.
        readings: of the same images.
        policy: registered name.
        options: of the policy.
        labels: judge these alone; all that were read when not given.
        arm: whose opinions count; people must not have seen the model.
        tune: split the policy is tuned on.
        test: split it is judged on.
        replicates: of the bootstrap by patient.
        seed: of the bootstrap.

    Raises:
        PredictionsError: nobody read such a label or arm, or no label can be judged: columns are missing, the splits
            share patients, or tuning readings lack positives or negatives.
        SettingsError: no such policy or option.
    """
    for kind, names, known in (("label", labels or (), readings.labels), ("arm", (arm,), readings.arms)):
        if unknown := [name for name in names if name not in known]:
            raise PredictionsError(f"no readings of {kind} {unknown[0]!r}", fix=nearest(unknown[0], known))
    tuning, judged = (readings.with_reference(predictions.part(split=split)) for split in (tune, test))
    results: list[TeamResult] = []
    failed: dict[str, PredictionsError] = {}
    for label in labels or readings.labels:
        fresh = build_policy(policy, **(options or {}))
        try:
            learnt, asked = (label_cases(part, label, arm) for part in (tuning, judged))
            results.append(evaluate_team(fresh, policy, learnt, asked, label, replicates=replicates, seed=seed))
        except PredictionsError as error:  # one label that people hardly read says nothing of the others
            failed[label] = error
    if not results:
        raise next(iter(failed.values()))
    return Teams(tuple(results), {label: f"{error.where}: {error.found}" for label, error in failed.items()})
