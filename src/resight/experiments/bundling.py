"""What goes into a bundle besides weights: recipe, calibration, thresholds, sentinels, figures and limits."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from resight.errors import DataError, PredictionsError
from resight.evaluation import Budgets
from resight.experiments.inputs import InputReport
from resight.experiments.judge import Judged
from resight.experiments.members import Ensemble
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.experiments.trust_facts import Trust, trust_facts
from resight.explain import NearestCases, Verdict
from resight.imaging import Sentinels, tone
from resight.models import Classifier, Novelty, channels_last
from resight.models.manifest import Manifest
from resight.monitoring import Reference, fit_reference
from resight.predictions import FEATURE, NOVELTY, Predictions

_MOST_FOR_SENTINELS = 2_000
"""Training images the sentinels learn from; more make no difference to means and correlations."""

_BATCH = 64


def fit_sentinels(prepared: Prepared, seed: int) -> Sentinels:
    """Learn what training images look like."""
    rows = prepared.rows[prepared.in_split("train")]
    if len(rows) > _MOST_FOR_SENTINELS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=_MOST_FOR_SENTINELS, replace=False))
    return Sentinels.fit(np.stack([prepared.store[int(row)] for row in rows]))


def fit_novelty(prepared: Prepared, ensemble: Ensemble, seed: int) -> Novelty | None:
    """Learn what known images look like to the first network; None where too few are held out."""
    model = ensemble.models[0]
    features: list[np.ndarray[Any, Any]] = []
    for keep in (prepared.in_split("train"), ensemble.validation):
        rows = prepared.rows[keep]
        if len(rows) > _MOST_FOR_SENTINELS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, size=_MOST_FOR_SENTINELS, replace=False))
        features.append(_features(model, prepared, rows))
    try:
        return Novelty.fit(*features)
    except DataError:
        return None


def training_cases(prepared: Prepared, ensemble: Ensemble) -> NearestCases:
    """Training cases to show beside new ones; they name patients and so stay in the run folder."""
    keep = prepared.in_split("train")
    table = prepared.cohort.table.loc[keep]
    patients = table["patient_id"] if "patient_id" in table.columns else table["image"]
    features = _features(ensemble.models[0], prepared, prepared.rows[keep])
    usable = np.isfinite(features).all(axis=1) & (np.linalg.norm(features, axis=1) > 0)
    names, owners = (column.astype(str).to_numpy()[usable].tolist() for column in (table["image"], patients))
    return NearestCases.fit(features[usable], names, owners)


def _features(model: Classifier, prepared: Prepared, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    model.eval()
    found: list[np.ndarray[Any, Any]] = []
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            images = np.stack([prepared.store[int(row)] for row in rows[start : start + _BATCH]])
            found.append(
                model.features(channels_last(torch.from_numpy(images).to(model.mean.device))).float().cpu().numpy()
            )
    return np.concatenate(found) if found else np.empty((0, model.backbone.feature_dim))


def remember(
    prepared: Prepared, ensemble: Ensemble, judged: Judged, sentinels: Sentinels, novelty: Novelty | None, seed: int
) -> Reference | None:
    """What incoming cases will be compared with; None where too few patients were held out.

    Besides scores and attributes it holds what `Predictor` writes of every image: alerts, tones, and where its features
    lie.
    """
    held_out = judged.predictions.part(split=judged.evaluated_on)
    row_of = dict(zip(prepared.cohort.table["image"], prepared.rows, strict=True))
    images = [prepared.store[int(row_of[name])] for name in held_out.images()["image"]]
    n_labels = len(held_out.labels)
    table = held_out.table.copy()
    alerts = ["; ".join(flag.name for flag in sentinels.check(image)) for image in images]
    table["alerts"] = np.repeat(np.array(alerts, dtype=object), n_labels)
    for name, values in pd.DataFrame([tone(image) for image in images]).items():
        table[name] = np.repeat(values.to_numpy(), n_labels)
    if novelty is not None:
        rows = np.array([row_of[name] for name in held_out.images()["image"]])
        features = _features(ensemble.models[0], prepared, rows)
        table[NOVELTY] = np.repeat(novelty.share_nearer(features), n_labels)
        for number, values in enumerate(novelty.coordinates(features).T, 1):
            table[f"{FEATURE}{number}"] = np.repeat(values, n_labels)
    try:
        return fit_reference(Predictions(table, held_out.labels, held_out.task), seed=seed)
    except PredictionsError:
        return None


def make_manifest(
    settings: ExperimentSettings,
    prepared: Prepared,
    judged: Judged,
    inputs: InputReport | None,
    sentinels: Sentinels,
    record: dict[str, Any],
    budgets: Budgets | None,
    trust: Trust,
) -> Manifest:
    """Describe a finished run's model.

    Args:
        settings: of the run.
        prepared: the cohort; says how its table was encoded.
        judged: calibration, operating points and figures.
        inputs: what each input adds, where there are several.
        sentinels: learned from the training images.
        record: of the run, for versions and counts.
        budgets: ways to run the network for less work.
        trust: what was measured of maps and groups, of which failed verdicts and differences become limits; the
            reference for drift.
    """
    figures = judged.evaluation
    versions = record["environment"]["versions"]
    return Manifest(
        name=settings.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        labels=judged.predictions.labels,
        task=judged.predictions.task,
        recipe=settings.recipe,
        model=settings.model,
        encoding=prepared.encoding,
        horizons=prepared.cohort.horizons,
        calibration=judged.calibration,
        conformal=judged.conformal,
        operating_points=judged.operating_points,
        budgets=budgets,
        sentinels=sentinels.to_dict(),
        reference=None if trust.reference is None else trust.reference.to_dict(),
        intended_use=settings.intended_use,
        limits=(
            *_limits(settings, judged, trust.scores.verdict),
            *trust.groups.sentences,
            *(inputs.sentences if inputs else ()),
        ),
        trust=trust_facts(judged, trust),
        metrics=_figures(judged, inputs) | {"evaluated_on": judged.evaluated_on, "images": figures.images},
        data=record["data"],
        settings=_without_folders(settings.model_dump(mode="python")),
        versions={name: version for name, version in versions.items() if version},
    )


def _without_folders(value: Any) -> Any:
    """Settings in which a path is its last name: a bundle travels, and folders name people and machines."""
    if isinstance(value, dict):
        return {key: _without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(one) for one in value]
    return value.name if isinstance(value, Path) else value


def _figures(judged: Judged, inputs: InputReport | None) -> dict[str, Any]:
    """Metrics without curves: what a card shows, and what is measured of a prognosis and of several inputs."""
    whole = judged.evaluation.to_dict()
    labels = [{key: label[key] for key in ("label", "counts", "metrics")} for label in whole["labels"]]
    figures = {"labels": labels, "macro": whole["macro"], "overall": whole["overall"], "notes": whole["notes"]}
    more = {"prognosis": judged.prognosis, "inputs": inputs}
    return figures | {name: one.to_dict() for name, one in more.items() if one is not None}


def _limits(settings: ExperimentSettings, judged: Judged, verdict: Verdict) -> tuple[str, ...]:
    limits = ["For research use only; not a medical device."]
    if not settings.intended_use:
        limits.append("No intended use was stated.")
    if judged.evaluated_on != "test":
        limits.append("No test image had a label: all figures come from the images that chose epoch and thresholds.")
    if settings.split.group == ("none",):
        limits.append("Patients were not known, so training and test may share some.")
    if not verdict.passed:
        limits.append(f"Its evidence maps are not trustworthy: {' '.join(verdict.reasons)}")
    return (*limits, *judged.evaluation.notes)
