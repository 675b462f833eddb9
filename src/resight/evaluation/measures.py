"""Metrics of the same rows side by side, their intervals from one common bootstrap, and their means over labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from resight.evaluation.calibration import calibration_statistic, debiased_rms_error, slope_and_intercept
from resight.evaluation.decisions import decision_metrics, decision_statistic
from resight.evaluation.delong import auroc_with_interval
from resight.evaluation.discrimination import Binary, Values, ranking, why_undefined
from resight.evaluation.multiclass import class_metrics, class_probability_statistic, class_statistic
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.resampling import Replicates, Statistic, bootstrap, with_percentiles
from resight.types import MetricValue, Scores

Owners = Int[np.ndarray, " n"]


@dataclass
class Block:
    """Metrics of one set of rows; what has no interval of its own gets one from the replicates of the statistic."""

    rows: Bool[np.ndarray, " N"]
    values: dict[str, MetricValue]
    statistic: Statistic | None = None
    replicates: Mapping[str, Replicates] = field(default_factory=dict[str, Replicates])


def ranking_block(
    rows: Bool[np.ndarray, " N"], y: Binary, s: Values, owner: Owners, options: EvaluationOptions
) -> Block:
    """AUROC, AUPRC, partial AUROC, and the rates at fixed points."""
    reason = why_undefined(y)
    if reason:
        names = ["auroc", "auprc", "partial_auroc"]
        names += [f"sensitivity_at_specificity_{rate:g}" for rate in options.at_specificity]
        names += [f"specificity_at_sensitivity_{rate:g}" for rate in options.at_sensitivity]
        return Block(rows, dict.fromkeys(names, MetricValue.undefined(reason, n=len(y))))
    statistic = ranking(
        y,
        s,
        at_specificity=options.at_specificity,
        at_sensitivity=options.at_sensitivity,
        partial_fpr=options.partial_fpr,
    )
    values = _estimates(statistic, len(y))
    if options.auroc_interval != "bootstrap":
        on_logit_scale = options.auroc_interval == "logit"
        values["auroc"] = auroc_with_interval(y, s, owner, confidence=options.confidence, on_logit_scale=on_logit_scale)
    return Block(rows, values, statistic)


def probability_block(
    rows: Bool[np.ndarray, " N"], y: Binary, p: Values, owner: Owners, options: EvaluationOptions
) -> Block:
    """Brier score, log loss, calibration errors, slope and intercept."""
    bins = {"bins": options.ece_bins, "binning": options.ece_binning}
    coefficients = slope_and_intercept(y, p, owner, confidence=options.confidence)
    if len(y) == 0:
        names = ("brier", "log_loss", "ece", "debiased_rms_calibration_error")
        return Block(rows, dict.fromkeys(names, MetricValue.undefined("no rows")) | coefficients)
    statistic = calibration_statistic(y, p, **bins)
    debiased = {"debiased_rms_calibration_error": debiased_rms_error(y, p, **bins)}
    return Block(rows, _estimates(statistic, len(y)) | debiased | coefficients, statistic)


def decision_block(
    rows: Bool[np.ndarray, " N"], y: Binary, called: Binary, owner: Owners, options: EvaluationOptions
) -> Block:
    """Rates of the confusion table."""
    values = decision_metrics(y, called, owner, confidence=options.confidence)
    return Block(rows, values, decision_statistic(y, called) if len(y) else None)


def class_blocks(
    rows: Bool[np.ndarray, " N"],
    targets: Int[np.ndarray, " n"],
    scores: Scores,
    owner: Owners,
    options: EvaluationOptions,
    *,
    calibrated: bool,
) -> list[Block]:
    """Accuracy, balanced accuracy and kappa of the most likely class; with probabilities also how far to trust them."""
    called, n_classes = scores.argmax(axis=1), scores.shape[1]
    values = class_metrics(targets, called, n_classes, owner, confidence=options.confidence)
    blocks = [Block(rows, values, class_statistic(targets, called, n_classes))]
    if calibrated:
        statistic = class_probability_statistic(targets, scores, bins=options.ece_bins, binning=options.ece_binning)
        blocks.append(Block(rows, _estimates(statistic, len(targets)), statistic))
    return blocks


def resample(blocks: Sequence[Block], patients: Owners, n_patients: int, options: EvaluationOptions) -> None:
    """Draw patients once for all blocks; keep the replicates and add the intervals that are missing."""
    sampled = [block for block in blocks if block.statistic is not None]
    if options.bootstrap == 0 or n_patients < 2:
        return
    statistics = [b.statistic.by_patient(patients[b.rows], n_patients) for b in sampled if b.statistic is not None]
    found = bootstrap(statistics, n_patients, replicates=options.bootstrap, seed=options.seed)
    for block, replicates in zip(sampled, found, strict=True):
        block.replicates = replicates
        for name, values in replicates.items():
            if not block.values[name].interval:
                block.values[name] = with_percentiles(block.values[name], values, options.confidence)


def macro_means(blocks: Sequence[Block], confidence: float) -> dict[str, MetricValue]:
    """Mean of each metric over the labels where it is defined; the interval keeps labels of one patient together.

    Args:
        blocks: the same metrics, one block a label.
        confidence: coverage.

    Returns:
        Values with the number of labels as `n`; a replicate that leaves a label undefined averages the others.
    """
    means: dict[str, MetricValue] = {}
    for name in blocks[0].values:
        defined = [block for block in blocks if not np.isnan(block.values[name].value)]
        if not defined:
            means[name] = MetricValue.undefined("not estimable for any label")
            continue
        mean = MetricValue(float(np.mean([block.values[name].value for block in defined])), n=len(defined))
        if all(name in block.replicates for block in defined):
            table = np.stack([block.replicates[name] for block in defined])
            count = (~np.isnan(table)).sum(axis=0)
            drawn = np.where(count > 0, np.nansum(table, axis=0) / np.maximum(count, 1), np.nan)
            mean = with_percentiles(mean, drawn, confidence)
        means[name] = mean
    return means


def _estimates(statistic: Statistic, n: int) -> dict[str, MetricValue]:
    return {name: MetricValue(value, n=n) for name, value in statistic.estimate().items()}
