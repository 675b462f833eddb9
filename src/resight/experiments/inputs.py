"""What each input adds: the same test images with image alone, table alone, both, and with one input missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from resight.cohorts.shortcuts import column_aurocs
from resight.evaluation import (
    EvaluationOptions,
    auroc_with_interval,
    compare,
    compare_prognoses,
    evaluate_prognosis,
    patient_index,
    survival_columns,
)
from resight.evidence import InputRow
from resight.experiments.judge import Judged
from resight.experiments.members import Ensemble, train_members
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.models import choose_device
from resight.predictions import Predictions, scores_of
from resight.settings import plain
from resight.training import predict_logits
from resight.training.data import TrainingData
from resight.types import OUTCOME_COLUMNS, MetricValue, Progress, RowMask, Scores

_FEWEST = 5
"""Training rows of either kind that a table model needs."""


@dataclass(frozen=True)
class InputReport:
    """What each input adds.

    Attributes:
        metric: `auroc`, or `uno` for a prognosis.
        arms: all inputs first.
        shortcuts: column, label and AUROC of what single columns tell on training rows, best first.
        sentences: what follows, for people.
    """

    metric: str
    arms: tuple[InputRow, ...]
    shortcuts: tuple[tuple[str, str, MetricValue], ...]
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return plain(self)


def report_inputs(
    settings: ExperimentSettings,
    prepared: Prepared,
    ensemble: Ensemble,
    judged: Judged,
    folder: Path,
    *,
    resume: bool,
    progress: Progress,
) -> InputReport | None:
    """Compare inputs on the evaluated images; None for a network of one image alone.

    Args:
        settings: of the experiment; `model.clinical.compare` trains the same network once more on images alone.
        prepared: cohort, store and encoded columns.
        ensemble: the networks with all inputs.
        judged: says which images are evaluated.
        folder: where checkpoints of the network on images alone go.
        resume: continue where checkpoints are.
        progress: told while that is trained.
    """
    if prepared.clinical is None and not prepared.cohort.modalities:
        return None
    keep = prepared.in_split(judged.evaluated_on)
    options = settings.evaluation.model_copy(update={"split": None})
    everything = _predictions(prepared, keep, _logits(settings, ensemble, prepared.samples(keep)))
    arms = [InputRow("all inputs", _value(everything, options), None, float("nan"), "this model")]
    for name, logits, how in _others(settings, prepared, ensemble, keep, folder, resume=resume, progress=progress):
        other = _predictions(prepared, keep, logits)
        gain, p = _gain(other, everything, options)
        arms.append(InputRow(name, _value(other, options), gain, p, how))
    shortcuts = _shortcuts(prepared)
    metric = "uno" if prepared.cohort.horizons else "auroc"
    return InputReport(metric, tuple(arms), shortcuts, tuple(_sentences(arms, shortcuts)))


def _others(
    settings: ExperimentSettings,
    prepared: Prepared,
    ensemble: Ensemble,
    keep: RowMask,
    folder: Path,
    *,
    resume: bool,
    progress: Progress,
) -> Iterator[tuple[str, Scores, str]]:
    """Name, logits `(K, L)` of the kept rows, and what answered, for everything but the model with all inputs."""
    data, clinical = prepared.samples(keep), settings.model.clinical
    if clinical is not None and prepared.clinical is not None:
        if clinical.compare:
            bare = settings.model_copy(
                update={"model": settings.model.model_copy(update={"clinical": None, "fusion": None})}
            )
            images = replace(prepared, encoding=None, clinical=None)
            alone = train_members(bare, images, folder, resume=resume, progress=progress)
            yield "images only", _logits(bare, alone, images.samples(keep)), "the same network, trained on images alone"
        yield "table only", _table_alone(settings, prepared, keep), "logistic regression on the encoded columns"
        yield "table missing", _logits(settings, ensemble, replace(data, table=None)), "this model"
        every = tuple(range(data.modalities))
        yield "images missing", _logits(settings, ensemble, replace(data, hidden=every)), "this model"
    for number, name in enumerate(prepared.cohort.modalities):
        yield f"{name} missing", _logits(settings, ensemble, replace(data, hidden=(number,))), "this model"
    if len(prepared.cohort.modalities) > 2:
        for number, name in enumerate(prepared.cohort.modalities):
            rest = tuple(k for k in range(data.modalities) if k != number)
            yield f"{name} only", _logits(settings, ensemble, replace(data, hidden=rest)), "this model"


def _logits(settings: ExperimentSettings, ensemble: Ensemble, data: TrainingData) -> Scores:
    device, size = choose_device(settings.training.device), settings.training.batch_size
    each = [
        predict_logits(model, data, batch_size=size, device=device, precision=fitted.precision)
        for model, fitted in zip(ensemble.models, ensemble.fits, strict=True)
    ]
    return np.mean(each, axis=0)


def _table_alone(settings: ExperimentSettings, prepared: Prepared, keep: RowMask) -> Scores:
    assert prepared.clinical is not None
    learned = ~prepared.in_split("test") if settings.folds else prepared.in_split("train")
    targets, mask = prepared.cohort.targets(), prepared.cohort.mask()
    logits = np.zeros((int(keep.sum()), targets.shape[1]))
    for label in range(targets.shape[1]):
        rows = learned & mask[:, label]
        y = targets[rows, label] > 0.5
        if min(y.sum(), len(y) - y.sum()) >= _FEWEST:
            model = LogisticRegression(max_iter=1000).fit(prepared.clinical[rows], y)
            logits[:, label] = model.decision_function(prepared.clinical[keep])
        elif len(y):
            share = (y.sum() + 0.5) / (len(y) + 1)
            logits[:, label] = np.log(share / (1 - share))
    return logits


def _predictions(prepared: Prepared, keep: RowMask, logits: Scores) -> Predictions:
    cohort = prepared.cohort.rows(keep)
    outcome = OUTCOME_COLUMNS if cohort.horizons else ()
    columns = [c for c in ("image", "patient_id", *outcome) if c in cohort.table.columns]
    scores = scores_of(logits, cohort.task)
    return Predictions.from_arrays(
        cohort.table[columns],
        cohort.labels,
        cohort.task,
        score=scores,
        target=cohort.targets(),
        mask=cohort.mask(),
        **survival_columns(scores, cohort.horizons),
    )


def _value(predictions: Predictions, options: EvaluationOptions) -> MetricValue:
    if predictions.has("horizon"):
        return evaluate_prognosis(predictions, options).uno
    owner, _ = patient_index(predictions.groups())
    targets, scores, mask = predictions.targets(), predictions.array("score"), predictions.mask()
    values = []
    for label in range(len(predictions.labels)):
        rows = mask[:, label] & np.isin(targets[:, label], (0.0, 1.0))
        one = auroc_with_interval(targets[rows, label], scores[rows, label], owner[rows], confidence=options.confidence)
        values.append(one)
    defined = [one.value for one in values if not np.isnan(one.value)]
    if len(values) == 1 or not defined:
        return values[0]
    return MetricValue(float(np.mean(defined)), n=len(defined))


def _gain(other: Predictions, everything: Predictions, options: EvaluationOptions) -> tuple[MetricValue, float]:
    if everything.has("horizon"):
        return compare_prognoses(evaluate_prognosis(other, options), evaluate_prognosis(everything, options))
    found = compare(other, everything, options)
    if len(found.labels) == 1:
        return found.labels[0].difference, found.labels[0].p
    return found.macro, float("nan")


def _shortcuts(prepared: Prepared) -> tuple[tuple[str, str, MetricValue], ...]:
    if prepared.encoding is None:
        return ()
    cohort = prepared.cohort.rows(prepared.in_split("train"))
    names = "patient_id" if "patient_id" in cohort.table.columns else "image"
    groups, _ = patient_index(cohort.table[names].to_numpy(dtype=str))
    columns = cohort.table[list(prepared.encoding.names)]
    found = column_aurocs(columns, cohort.targets(), cohort.labels, groups)
    return tuple((one.column, one.label, one.auroc) for one in found if not np.isnan(one.auroc.value))


def _sentences(arms: list[InputRow], shortcuts: tuple[tuple[str, str, MetricValue], ...]) -> Iterator[str]:
    by_name = {arm.name: arm for arm in arms}
    for name, added in (("images only", "The table"), ("table only", "The image")):
        if (arm := by_name.get(name)) is None or arm.gain is None or np.isnan(arm.gain.low):
            continue
        if arm.gain.low > 0:
            yield f"{added} adds {arm.gain} to what {name} reach."
        else:
            yield f"{added} adds nothing that can be shown on these images: {arm.gain} over {name}."
    if shortcuts:
        column, label, value = shortcuts[0]
        yield f"The column that tells most by itself is {column!r}: AUROC {value} for {label} on training images."
