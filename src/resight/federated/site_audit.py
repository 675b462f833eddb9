"""A site's part in the audit: its images' scores stay here; counts and its own metrics leave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from resight.evaluation import (
    Calibration,
    EvaluationOptions,
    OperatingPoint,
    OperatingRule,
    choose_operating_points,
    decide,
    evaluate,
    evaluate_prognosis,
    fit_calibration,
    survival_columns,
)
from resight.federated.counts import Counts, count
from resight.federated.messages import Message
from resight.federated.settings import FederatedSettings
from resight.federated.shift import site_shift
from resight.models import choose_device
from resight.predictions import Predictions, scores_of
from resight.settings import plain, validate
from resight.training import predict_logits
from resight.training.data import TrainingData
from resight.types import OUTCOME_COLUMNS, Cohort, Scores

SHARED, OWN = "shared", "own"
_SENT = (
    "auroc",
    "auprc",
    "brier",
    "log_loss",
    "ece",
    "calibration_slope",
    "calibration_intercept",
    "sensitivity",
    "specificity",
    "accuracy",
)


class SiteAudit:
    """Counts and reports on one site's validation and test images.

    Args:
        name: the site.
        settings: the experiment.
        samples: images by split.
        cohorts: table rows by split.
        folder: where the site keeps its predictions.
    """

    def __init__(
        self,
        name: str,
        settings: FederatedSettings,
        samples: Mapping[str, TrainingData],
        cohorts: Mapping[str, Cohort],
        folder: Path,
    ) -> None:
        self._name, self._settings, self._samples, self._cohorts = name, settings, samples, cohorts
        self._folder = folder
        self._options = EvaluationOptions(
            bootstrap=settings.evaluation.bootstrap,
            seed=settings.evaluation.seed,
            confidence=settings.evaluation.confidence,
            baselines=False,
        )
        self._logits: dict[str, Scores] = {}
        self._test_counts: Counts | None = None

    def count(self, model: nn.Module, request: Message) -> Counts:
        """Counts of one split under the calibration of the request, if it has one."""
        split = str(request.facts["split"])
        cohort = self._cohorts[split]
        self._logits[split] = self._predict(model, split)
        probabilities = self._probabilities(split, _calibration(request))
        groups = self._settings.federation.audit.groups
        found = count(probabilities, cohort.targets(), cohort.mask(), cohort.table, groups)
        if split == "test":
            self._test_counts = found
        return found

    def report(self, request: Message) -> dict[str, Any]:
        """Metrics of the test images, with the shared calibration and thresholds and with the site's own.

        Args:
            request: facts `calibration` and `points`; array `everyone`, the counts of all sites' test images.
        """
        cohort, labels = self._cohorts["test"], self._cohorts["test"].labels
        shared = _calibration(request)
        points = tuple(validate(OperatingPoint, one, where="operating point") for one in request.facts["points"])
        facts: dict[str, Any] = {"images": len(cohort), "notes": [], SHARED: {}, OWN: {}, "shift": {}}
        if not len(cohort) or not cohort.mask().any():
            facts["notes"].append("no labelled test images")
            return facts
        if self._test_counts is None:
            facts["notes"].append("the test images were not counted in this session")
            return facts
        everyone = np.asarray(request.arrays["everyone"], np.int64)
        facts["shift"] = {
            label: plain(site_shift(own := self._test_counts[0, column], everyone[0, column] - own))
            for column, label in enumerate(labels)
        }
        facts[SHARED] = self._metrics(shared, points)
        own_calibration, own_points, notes = self._own()
        facts[OWN] = self._metrics(own_calibration, own_points)
        facts["notes"] += notes
        facts["thresholds"] = {point.label: point.threshold for point in own_points}
        table = self._table(shared, points)
        if cohort.horizons:
            found = evaluate_prognosis(table, self._options)
            facts["prognosis"] = plain({"harrell": found.harrell, "uno": found.uno})
        table.write(self._folder / "predictions.csv")
        return facts

    def _own(self) -> tuple[Calibration | None, tuple[OperatingPoint, ...], list[str]]:
        cohort = self._cohorts["validation"]
        logits, targets, mask = self._logits["validation"], cohort.targets(), cohort.mask()
        calibration = fit_calibration(logits, targets, mask, cohort.task, "platt")
        rule = OperatingRule(kind="sensitivity", value=self._settings.federation.audit.sensitivity, name=OWN)
        probabilities = calibration.apply(logits)
        points = choose_operating_points(probabilities, targets, mask, cohort.labels, (rule,))
        notes = [f"{point.label}: own threshold: {point.note}" for point in points if point.note]
        pairs = zip(cohort.labels, calibration.labels, strict=True)
        return (
            calibration,
            points,
            notes + [f"{label}: own calibration: {one.note}" for label, one in pairs if one.note],
        )

    def _metrics(self, calibration: Calibration | None, points: tuple[OperatingPoint, ...]) -> dict[str, Any]:
        found = evaluate(self._table(calibration, points), self._options, operating_points=points)
        return {
            one.label: {
                "counts": plain(one.counts),
                "metrics": plain({name: one.metrics[name] for name in _SENT if name in one.metrics}),
            }
            for one in found.labels
        }

    def _table(self, calibration: Calibration | None, points: tuple[OperatingPoint, ...]) -> Predictions:
        cohort = self._cohorts["test"]
        probabilities = self._probabilities("test", calibration)
        named = ("image", "patient_id", "split", *(OUTCOME_COLUMNS if cohort.horizons else ()), *cohort.attributes)
        columns = [name for name in named if name in cohort.table.columns]
        name = points[0].name
        table = Predictions.from_arrays(
            cohort.table[columns].copy(),
            cohort.labels,
            cohort.task,
            logit=self._logits["test"],
            score=scores_of(self._logits["test"], cohort.task),
            probability=probabilities,
            decision=decide(probabilities, cohort.labels, points, name),
            target=cohort.targets(),
            mask=cohort.mask(),
            **survival_columns(probabilities, cohort.horizons),
        )
        table.table["operating_point"] = name
        return table

    def _predict(self, model: nn.Module, split: str) -> Scores:
        options, data = self._settings.training, self._samples[split]
        if not len(data):
            return np.empty(data.targets.shape)
        return predict_logits(
            model, data, batch_size=options.batch_size, device=choose_device(options.device), precision="fp32"
        )

    def _probabilities(self, split: str, calibration: Calibration | None) -> Scores:
        logits, task = self._logits[split], self._cohorts[split].task
        return scores_of(logits, task) if calibration is None else calibration.apply(logits)


def _calibration(request: Message) -> Calibration | None:
    given = request.facts.get("calibration")
    return validate(Calibration, given, where="calibration") if given else None
