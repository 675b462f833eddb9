"""Labels that were never seen, from descriptions of them (ESZSL: Romera-Paredes & Torr, ICML 2015, equation 5).

A bilinear map between features and descriptions is fitted in closed form on seen labels; a label that was not seen gets
its score from its description alone. Descriptions are attributes or sentence embeddings.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Shaped
from pydantic import Field
from scipy.stats import t

from resight.errors import CohortError
from resight.evaluation import auroc, auroc_with_interval, patient_index
from resight.fewshot.base import Features
from resight.settings import Options
from resight.types import MetricValue, Targets

Descriptions = Float[np.ndarray, "L A"]

_LEAST_LABELS: Final = 3
"""To leave one out, and for an interval over labels."""


class ZeroShotOptions(Options):
    """Ridge penalties of the two sides."""

    feature_penalty: float = Field(default=10.0, gt=0, description="of the features, per image")
    description_penalty: float = Field(default=0.1, gt=0, description="of the descriptions, per label")


@dataclass(frozen=True)
class Compatibility:
    """How well a feature vector fits a description: `features @ map @ description`.

    Attributes:
        map: `(F, A)`.
        mean: `(F,)` taken off the features.
        scale: `(F,)` the features are divided by.
    """

    map: Float[np.ndarray, "F A"]
    mean: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]

    def scores(self, features: Features, descriptions: Descriptions) -> Float[np.ndarray, "N L"]:
        """Scores of labels described so."""
        return ((features - self.mean) / self.scale) @ self.map @ descriptions.T


@dataclass(frozen=True)
class UnseenLabel:
    """A label left out of the fit.

    Attributes:
        label: its name.
        auroc: from its description alone.
        taught: AUROC of the same map when the label is among the seen ones.
        new_to_network: whether the network that gave the features was not taught the label either.
    """

    label: str
    auroc: MetricValue
    taught: MetricValue
    new_to_network: bool


@dataclass(frozen=True)
class ZeroShotResult:
    """Every label left out in turn.

    Attributes:
        labels: one by one.
        mean_unseen: mean AUROC of the labels while unseen; the interval is over labels.
        mean_new: the same of the labels that are new to the network as well.
        harmonic: harmonic mean of two mean AUROCs, of the labels while unseen and of all others meanwhile (generalised
            zero-shot).
        chance: 0.5.
    """

    labels: tuple[UnseenLabel, ...]
    mean_unseen: MetricValue
    mean_new: MetricValue
    harmonic: float
    chance: float = 0.5


def fit_compatibility(
    features: Features, targets: Targets, descriptions: Descriptions, options: ZeroShotOptions
) -> Compatibility:
    """Fit the map on seen labels.

    Args:
        features: of the training images.
        targets: `(N, L)` 0 or 1; unknown ones (NaN) count as neither.
        descriptions: `(L, A)` of the seen labels.
        options: penalties.

    Raises:
        CohortError: the descriptions do not tell the labels apart, or the shapes differ.
    """
    if targets.shape[1] != len(descriptions):
        found = f"{targets.shape[1]} labels and {len(descriptions)} descriptions"
        raise CohortError(found, where="zero-shot", expected="one each")
    _check_apart(descriptions)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    x = (features - mean) / np.where(scale > 0, scale, 1.0)
    signed = np.where(np.isnan(targets), 0.0, 2 * np.nan_to_num(targets) - 1)
    # A rare label would otherwise say "absent" to everything: both signs weigh the same.
    positive, negative = (signed > 0).sum(axis=0), (signed < 0).sum(axis=0)
    weight = np.where(signed > 0, 0.5 / np.maximum(positive, 1), 0.5 / np.maximum(negative, 1)) * len(x)
    left = x.T @ x + options.feature_penalty * len(x) * np.eye(x.shape[1])
    right = descriptions.T @ descriptions + options.description_penalty * np.eye(descriptions.shape[1])
    middle = x.T @ (signed * weight) @ descriptions
    fitted = np.linalg.solve(left, np.linalg.solve(right, middle.T).T)
    return Compatibility(fitted, mean, np.where(scale > 0, scale, 1.0))


def leave_one_label_out(
    training: tuple[Features, Targets],
    test: tuple[Features, Targets],
    labels: tuple[str, ...],
    descriptions: Descriptions,
    patients: Shaped[np.ndarray, " N"],
    options: ZeroShotOptions,
    *,
    taught: Collection[str] = (),
) -> ZeroShotResult:
    """Take each label for unseen in turn.

    Images that carry the label stay in training, with the label unknown: what a cohort looks like before anybody
    thought of the label.

    Args:
        training: features and targets to fit on.
        test: features and targets to judge on, other patients.
        labels: names.
        descriptions: `(L, A)`.
        patients: patient of each test image.
        options: penalties.
        taught: labels that the network which gave the features was taught: unseen by the map alone.

    Raises:
        CohortError: from `fit_compatibility`, or fewer than 3 labels.
    """
    if len(labels) < _LEAST_LABELS:
        expected = f"{_LEAST_LABELS} at least: 2 seen and 1 unseen"
        raise CohortError(f"{len(labels)} labels", where="zero-shot", expected=expected)
    x, y = training
    test_x, test_y = test
    owner, _ = patient_index(patients)
    everything = fit_compatibility(x, y, descriptions, options).scores(test_x, descriptions)
    found: list[UnseenLabel] = []
    seen_means: list[float] = []
    for column, label in enumerate(labels):
        seen = np.arange(len(labels)) != column
        fitted = fit_compatibility(x, y[:, seen], descriptions[seen], options)
        scores = fitted.scores(test_x, descriptions)
        known = ~np.isnan(test_y[:, column])
        values = [
            auroc_with_interval(test_y[known, column], one[known, column], owner[known]) for one in (scores, everything)
        ]
        found.append(UnseenLabel(label, *values, new_to_network=label not in taught))
        each = [
            auroc(test_y[rows, k], scores[rows, k]).value
            for k in np.flatnonzero(seen)
            for rows in [~np.isnan(test_y[:, k])]
        ]
        seen_means.append(float(np.nanmean(each)))
    unseen, new = _mean_over(found), _mean_over([one for one in found if one.new_to_network])
    seen_mean = float(np.mean(seen_means))
    return ZeroShotResult(tuple(found), unseen, new, 2 * unseen.value * seen_mean / (unseen.value + seen_mean))


def _mean_over(labels: Sequence[UnseenLabel]) -> MetricValue:
    """With Student's interval over the labels: how sure the mean is of other labels, on these patients."""
    values = np.array([one.auroc.value for one in labels if not np.isnan(one.auroc.value)])
    if not len(values):
        return MetricValue.undefined("no label that can be judged")
    mean = float(values.mean())
    if len(values) < _LEAST_LABELS:
        return MetricValue(mean, n=len(values))
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return MetricValue(mean, mean - half, mean + half, len(values), interval="t over labels")


def _check_apart(descriptions: Descriptions) -> None:
    if not np.isfinite(descriptions).all():
        raise CohortError("descriptions that are not numbers", where="zero-shot")
    distances = np.abs(descriptions[:, None] - descriptions).max(axis=2) + np.eye(len(descriptions))
    if len(descriptions) > 1 and distances.min() < 1e-9:
        first, second = divmod(int(distances.argmin()), len(descriptions))
        found = f"descriptions {first + 1} and {second + 1} are the same"
        raise CohortError(found, where="zero-shot", expected="descriptions that tell the labels apart")
