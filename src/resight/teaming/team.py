"""Model alone, readers alone, and both together, on the same images: rates, differences and readings needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from resight.errors import PredictionsError
from resight.evaluation import Statistic, bootstrap, patient_index, proportion, roc_curve, with_percentiles
from resight.settings import plain
from resight.teaming.base import Cases, DeferralPolicy
from resight.teaming.readings import Readings
from resight.types import MetricValue

_WHO = ("model", "readers", "team")
_RATES = ("sensitivity", "specificity")


@dataclass(frozen=True)
class TeamResult:
    """What a policy does on test readings of one label.

    Attributes:
        label: its name.
        policy: registered name.
        chosen: what the policy chose on the tuning readings.
        rates: sensitivity and specificity of `model`, `readers` and `team`, with bootstrap intervals by patient, exact
            ones where all or none are right.
        differences: team less readers and team less model, of the same rates, on the same draws.
        readings: mean number of people who look at an image in the team.
        read_by_nobody: share of images that the model settles alone.
        curves: points `(1 - specificity, sensitivity)`: the model's ROC curve, each reader's point, and as `team` what
            the policy could have chosen, with the number of people who look at an image in a third row.
        images: in the test readings.
        readers: among them.
        notes: what was left out.
    """

    label: str
    policy: str
    chosen: Mapping[str, Any]
    rates: Mapping[str, Mapping[str, MetricValue]]
    differences: Mapping[str, Mapping[str, MetricValue]]
    readings: MetricValue
    read_by_nobody: MetricValue
    curves: Mapping[str, Any]
    images: int
    readers: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain(self)


@dataclass(frozen=True)
class LabelCases:
    """Usable readings of one label, and what was left out.

    Attributes:
        cases: complete rows.
        images: name of the image of each row.
        readers: name of the reader of each row.
        notes: what was left out, one sentence each.
    """

    cases: Cases
    images: np.ndarray[Any, Any]
    readers: np.ndarray[Any, Any]
    notes: tuple[str, ...] = field(default=())


def label_cases(readings: Readings, label: str, arm: str) -> LabelCases:
    """Rows of one label and arm that hold opinion, target and the model's answer.

    Args:
        readings: joined by `Readings.with_reference`.
        label: whose readings.
        arm: which arm; opinions must not be influenced by the model.

    Raises:
        PredictionsError: a column is missing or no row is complete.
    """
    table = readings.of(label, arm).table
    for needed in ("decision", "target", "model_decision", "model_probability"):
        if needed not in table.columns:
            fix = "Readings need a decision; predictions need a target and a decision at an operating point."
            raise PredictionsError(f"no column {needed!r}", where=f"readings of {label!r}", fix=fix)
    complete = table[["decision", "target", "model_decision", "model_probability"]].notna().all(axis=1)
    complete &= table["target"].isin([0.0, 1.0])
    if not complete.any():
        found = f"none of {len(table)} readings has an opinion, a target and a model's decision"
        raise PredictionsError(found, where=f"readings of {label!r}")
    kept = table.loc[complete].reset_index(drop=True)
    missing = len(table) - len(kept)
    notes = (f"{missing} of {len(table)} readings are incomplete and were left out.",) if missing else ()
    cases = Cases(
        probabilities=kept["model_probability"].to_numpy(dtype=np.float64),
        model_decisions=kept["model_decision"].to_numpy(dtype=np.float64),
        opinions=kept["decision"].to_numpy(dtype=np.float64),
        second_opinions=_next_reader(kept["image"].to_numpy(), kept["decision"].to_numpy(dtype=np.float64)),
        targets=kept["target"].to_numpy(dtype=np.float64),
        patients=Readings.patients(Readings(kept, (label,), readings.readers, (arm,))),
    )
    return LabelCases(cases, kept["image"].to_numpy(dtype=object), kept["reader"].to_numpy(dtype=object), notes)


def evaluate_team(
    policy: DeferralPolicy,
    name: str,
    tuning: LabelCases,
    test: LabelCases,
    label: str,
    *,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> TeamResult:
    """Fit a policy on tuning readings and judge it on test readings of other patients.

    Args:
        policy: unfitted.
        name: its registered name, for the record.
        tuning: readings to choose on.
        test: readings to judge by.
        label: whose readings these are.
        replicates: of the bootstrap by patient.
        seed: of the bootstrap.
        confidence: of the intervals.

    Raises:
        PredictionsError: tuning and test share patients, or the tuning readings cannot teach.
    """
    shared = set(tuning.cases.patients) & set(test.cases.patients)
    if shared:
        fix = "Tune on readings of other patients, for example of the validation split."
        raise PredictionsError(
            f"{len(shared)} patients are in tuning and test", where=f"readings of {label!r}", fix=fix
        )
    policy.fit(tuning.cases)
    team = policy.decide(test.cases)
    usable = ~np.isnan(team.decisions)
    notes = [*test.notes]
    if not usable.all():
        notes.append(f"{int((~usable).sum())} readings need a second opinion that nobody gave, and were left out.")
    cases = test.cases
    decisions = np.stack([cases.model_decisions, cases.opinions, team.decisions])[:, usable]
    patients, n_patients = patient_index(cases.patients)
    statistic = _statistic(decisions, cases.targets[usable], team.readings[usable])
    statistic = statistic.by_patient(patients[usable], n_patients)
    values = statistic.estimate()
    (drawn,) = bootstrap([statistic], n_patients, replicates=replicates, seed=seed)
    n = int(usable.sum())

    def value(key: str) -> MetricValue:
        if np.isnan(values[key]):
            kind = "negatives" if "specificity" in key else "positives"
            return MetricValue.undefined(f"no {kind}", n)
        return with_percentiles(MetricValue(values[key], n=n), drawn[key], confidence)

    def rate_of(who: str, rate: str) -> MetricValue:
        found = value(f"{who} {rate}")
        if found.value in (0.0, 1.0):  # no draw of the bootstrap knows anything else
            rows = (cases.targets[usable] > 0) == (rate == "sensitivity")
            right = decisions[_WHO.index(who), rows] == cases.targets[usable][rows]
            return proportion(right, patients[usable][rows], confidence=confidence)
        return found

    return TeamResult(
        label=label,
        policy=name,
        chosen=policy.describe(),
        rates={who: {rate: rate_of(who, rate) for rate in _RATES} for who in _WHO},
        differences={
            f"team - {who}": {rate: value(f"team - {who} {rate}") for rate in _RATES} for who in ("readers", "model")
        },
        readings=value("readings"),
        read_by_nobody=value("read by nobody"),
        curves=_curves(test, policy),
        images=len(np.unique(test.images)),
        readers=len(np.unique(test.readers)),
        notes=tuple(notes),
    )


def _next_reader(images: np.ndarray[Any, Any], opinions: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """For each row the opinion of the next reader of the same image, in turn; NaN where there is none."""
    second = np.full(len(images), np.nan)
    order = np.argsort(images, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], images[order][1:] != images[order][:-1]]))
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            second[rows] = opinions[np.roll(rows, -1)]
    return second


def _statistic(
    decisions: Float[np.ndarray, "3 n"], targets: Float[np.ndarray, " n"], readings: Float[np.ndarray, " n"]
) -> Statistic:
    positive = targets > 0
    right = decisions == targets
    rows = [
        positive,
        ~positive,
        *(right & positive),
        *(right & ~positive),
        readings,
        readings == 0,
        np.ones_like(targets),
    ]
    return Statistic(csr_array(np.stack(rows).astype(np.float64)), _finish)


def _finish(sums: Float[np.ndarray, "K R"]) -> dict[str, Float[np.ndarray, " R"]]:
    positives, negatives = sums[0], sums[1]
    values: dict[str, Float[np.ndarray, " R"]] = {}
    for index, who in enumerate(_WHO):
        values[f"{who} sensitivity"] = sums[2 + index] / positives
        values[f"{who} specificity"] = sums[5 + index] / negatives
    for who in ("readers", "model"):
        for rate in _RATES:
            values[f"team - {who} {rate}"] = values[f"team {rate}"] - values[f"{who} {rate}"]
    values["readings"] = sums[8] / sums[10]
    values["read by nobody"] = sums[9] / sums[10]
    return values


def _curves(test: LabelCases, policy: DeferralPolicy) -> dict[str, Any]:
    cases = test.cases
    _, first = np.unique(test.images.astype(str), return_index=True)
    targets = cases.targets[first]
    curves: dict[str, Any] = {"readers": {}}
    if 0 < targets.sum() < len(targets):
        roc = roc_curve(targets, cases.probabilities[first])
        curves["model"] = [roc.x.tolist(), roc.y.tolist()]
        positive = cases.targets > 0
        points = [
            (
                float(team.decisions[~positive].mean()),
                float(team.decisions[positive].mean()),
                float(team.readings.mean()),
            )
            for team in (table.decide(cases) for table in policy.trade_offs())
        ]
        if points:
            curves["team"] = [list(axis) for axis in zip(*dict.fromkeys(points), strict=True)]
    for reader in np.unique(test.readers.astype(str)):
        rows = test.readers.astype(str) == reader
        positive = rows & (cases.targets > 0)
        negative = rows & (cases.targets == 0)
        if positive.any() and negative.any():
            curves["readers"][reader] = [
                float(cases.opinions[negative].mean()),
                float(cases.opinions[positive].mean()),
            ]
    return curves
