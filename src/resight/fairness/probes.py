"""Can an attribute be read from what a model sees, and does the model use it: probes of features and of scores.

A linear probe that tells the sex from features shows that the model could use it (Glocker et al. 2023: it does not show
that it does). A score that goes along with an attribute among images of the same label shows that something does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from resight.evaluation.delong import auroc_with_interval
from resight.evaluation.groups import make_groupings
from resight.evaluation.resampling import patient_index
from resight.evaluation.rows import hard_mask
from resight.evaluation.significance import holm
from resight.fairness.measures import few_of_a_class
from resight.predictions import Predictions
from resight.types import MetricValue

_FOLDS = 5
_Z95 = float(norm.isf(0.025))
_STRENGTH = 0.01
"""Inverse regularisation of the probe: features outnumber patients in small cohorts."""


@dataclass(frozen=True)
class Probe:
    """How well one group is told from all others.

    Attributes:
        attribute: what was probed for.
        group: the group.
        auroc: out of fold, whole patients in one fold, with the interval by patient.
    """

    attribute: str
    group: str
    auroc: MetricValue


@dataclass(frozen=True)
class ScoreLink:
    """Whether scores go along with an attribute among images of the same target.

    Attributes:
        attribute: the attribute.
        group: the group, against the rest.
        label: whose score.
        target: among images with (1) or without (0) the finding.
        auroc: how often an image of the group scores higher than another; 0.5 is no link.
        p: two-sided, corrected by Holm over all links.
    """

    attribute: str
    group: str
    label: str
    target: int
    auroc: MetricValue
    p: float


def probe_features(
    features: Float[np.ndarray, "N F"],
    images: pd.DataFrame,
    by: Sequence[str],
    *,
    least: int = 10,
    seed: int = 0,
) -> tuple[Probe, ...]:
    """Predict attributes from features.

    Args:
        features: one row an image.
        images: the same images with attributes, and `patient_id` where known.
        by: attributes.
        least: patients that a group, and the rest, must have.
        seed: of the folds.

    Raises:
        SettingsError: no such attribute.
    """
    owner = _owners(images)
    found: list[Probe] = []
    for grouping in make_groupings(images, by):
        known = grouping.index >= 0
        numbers = range(1, 2) if len(grouping.groups) == 2 else range(len(grouping.groups))
        for number in numbers:
            y = grouping.members(number)[known].astype(np.float64)
            value = _probed(features[known], y, owner[known], least, seed)
            found.append(Probe(grouping.name, grouping.groups[number], value))
    return tuple(found)


def score_links(predictions: Predictions, by: Sequence[str], *, least: int = 10) -> tuple[ScoreLink, ...]:
    """Ask whether scores know an attribute beyond the label: the trace a shortcut leaves.

    Args:
        predictions: with targets and attributes, such as `marker` where the place of a patch is known.
        by: attributes.
        least: patients that a group, and the rest, must have among images of the same target.

    Raises:
        SettingsError: no such attribute.
    """
    images, owner = predictions.images(), patient_index(predictions.groups())[0]
    mask, targets, scores = hard_mask(predictions), predictions.targets(), predictions.array("score")
    links: list[ScoreLink] = []
    for grouping in make_groupings(images, by):
        numbers = range(1, 2) if len(grouping.groups) == 2 else range(len(grouping.groups))
        for number in numbers:
            for column, label in enumerate(predictions.labels):
                for target in (1, 0):
                    rows = mask[:, column] & (targets[:, column] == target) & (grouping.index >= 0)
                    inside = grouping.members(number)[rows].astype(np.float64)
                    reason = few_of_a_class(inside, owner[rows], least)
                    value = (
                        MetricValue.undefined(_in_words(reason), len(inside))
                        if reason
                        else auroc_with_interval(inside, scores[rows, column], owner[rows], on_logit_scale=False)
                    )
                    group = grouping.groups[number]
                    links.append(ScoreLink(grouping.name, group, label, target, value, chance_p(value)))
    corrected = holm([link.p for link in links])
    return tuple(
        ScoreLink(link.attribute, link.group, link.label, link.target, link.auroc, p)
        for link, p in zip(links, corrected, strict=True)
    )


def _probed(
    features: Float[np.ndarray, "n F"], y: Float[np.ndarray, " n"], owner: Int[np.ndarray, " n"], least: int, seed: int
) -> MetricValue:
    usable = np.isfinite(features).all(axis=1)
    features, y, owner = features[usable], y[usable], owner[usable]
    if reason := few_of_a_class(y, owner, max(least, _FOLDS)):
        return MetricValue.undefined(_in_words(reason), len(y))
    scores = np.zeros(len(y))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for train, out in folds.split(features, y, owner):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=500, class_weight="balanced"))
        scores[out] = probe.fit(features[train], y[train]).decision_function(features[out])
    return auroc_with_interval(y, scores, owner, on_logit_scale=True)


def _owners(images: pd.DataFrame) -> Int[np.ndarray, " N"]:
    names = images["patient_id"].fillna(images["image"]) if "patient_id" in images else images["image"]
    return patient_index(names.to_numpy(dtype=object))[0]


def _in_words(reason: str) -> str:
    """What is positive here is a group, not a finding."""
    return reason.replace("positives", "the attribute").replace("negatives", "another value")


def chance_p(auroc: MetricValue) -> float:
    """Two-sided p that an AUROC is 0.5, from the interval of DeLong's variance; NaN without one."""
    if math.isnan(auroc.low) or auroc.high == auroc.low:
        return math.nan
    error = (auroc.high - auroc.low) / (2 * _Z95)
    return 2 * float(norm.sf(abs(auroc.value - 0.5) / error))
