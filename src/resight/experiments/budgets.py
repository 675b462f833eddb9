"""After training: what a network with exits or gates answers for less work, fitted on validation, judged on test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from resight.evaluation import (
    BudgetPoint,
    Budgets,
    EvaluationOptions,
    GroupChange,
    Left,
    OperatingPoint,
    Trace,
    brier,
    choose_operating_points,
    compare,
    decide,
    fit_points,
    groups_of,
    leave,
    mean_auroc,
    patient_index,
    sensitivity_changes,
)
from resight.experiments.budget_results import BudgetResult, BudgetStudy, ExitRow
from resight.experiments.judge import Judged
from resight.experiments.members import Ensemble
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.models import Classifier, autocast, channels_last
from resight.models.adaptive import Costs, is_adaptive, measure_costs, run_within, trace
from resight.models.device import Precision
from resight.predictions import Predictions
from resight.training.data import in_order
from resight.types import MetricValue, Progress, RowMask, Scores, Task


def study_budgets(
    settings: ExperimentSettings, prepared: Prepared, ensemble: Ensemble, judged: Judged, progress: Progress
) -> BudgetStudy | None:
    """Fit every way to run the network for less work, and judge each on held-out images.

    Args:
        settings: rules for operating points, calibration, and what to do where a group falls.
        prepared: the cohort.
        ensemble: the trained network.
        judged: of the whole network.
        progress: told after every point.

    Returns:
        None for a network without exits and gates, and for several networks that answer together.
    """
    model = ensemble.models[0]
    if len(ensemble.models) > 1 or not is_adaptive(model):
        return None
    return _Study(settings, prepared, ensemble, judged, model.eval()).run(progress)


class _Study:
    def __init__(
        self, settings: ExperimentSettings, prepared: Prepared, ensemble: Ensemble, judged: Judged, model: Classifier
    ) -> None:
        self.settings, self.prepared, self.judged, self.model = settings, prepared, judged, model
        self.precision: Precision = ensemble.fits[0].precision
        cohort = prepared.cohort
        self.task: Task = cohort.task
        self.labels = cohort.labels
        self.targets, self.known = cohort.targets(), cohort.mask()
        self.patients = patient_index(judged.predictions.groups())
        self.groups = groups_of(cohort.table, cohort.attributes)
        self.costs = measure_costs(model, (settings.recipe.channels, *settings.recipe.size_px))
        self.rule = judged.operating_points[0].name
        self.deciding = tuple(point.threshold for point in judged.operating_points if point.name == self.rule)
        self.validation = ensemble.validation
        self.held_out = prepared.in_split("test") if judged.evaluated_on == "test" else ensemble.validation
        self.whole = judged.predictions.array("probability")
        gated = bool(self.costs.work.units)
        self.thresholds = settings.budget.gate_thresholds if gated else (0.5,)

    def run(self, progress: Progress) -> BudgetStudy:
        validation = {t: self._trace(self.validation, t) for t in self.thresholds}
        rows = self.validation
        points = fit_points(
            list(validation.values()),
            self.targets[rows],
            self.known[rows],
            self.task,
            deciding=self.deciding,
            method=self.settings.calibration.method,
        )
        points = tuple(self._described(point, validation[point.gate_threshold]) for point in points)
        budgets = Budgets(
            exits=tuple(self.model.exits),
            deciding=self.deciding,
            whole_flops=self.costs.whole,
            whole_auroc=self._auroc(self.whole[rows], rows),
            points=points,
        )
        held_out = {point.gate_threshold: self._trace(self.held_out, point.gate_threshold) for point in points}
        seconds = self._seconds(points)
        results = []
        for number, point in enumerate(points):
            results.append(self._judged(point, held_out[point.gate_threshold], seconds[number + 1]))
            progress("budgets", number + 1, len(points), "")
        whole = self._auroc(self.whole[self.held_out], self.held_out)
        return BudgetStudy(budgets, tuple(results), whole, seconds[0], self.judged.evaluated_on)

    def _trace(self, keep: RowMask, threshold: float) -> Trace:
        data = self.prepared.samples(keep)
        device = self.model.mean.device
        batches = in_order(data, batch_size=self.settings.training.batch_size, device=device)
        with torch.inference_mode(), autocast(self.precision, device):
            parts = [trace(self.model, channels_last(batch.images), self.costs, threshold) for batch in batches]
        logits = np.concatenate([part.logits for part in parts])
        return replace(parts[0], logits=logits, flops=np.concatenate([part.flops for part in parts]))

    def _described(self, point: BudgetPoint, traced: Trace) -> BudgetPoint:
        """A point with its own thresholds, and with what it does to groups."""
        rows, left = self.validation, leave(traced, point, self.deciding, self.task)
        rules = self.settings.operating_points
        operating = choose_operating_points(
            left.probabilities, self.targets[rows], self.known[rows], self.labels, rules
        )
        groups = self._changes(left, operating, rows)
        options = self.settings.budget
        falls = [g for g in groups if g.change < -options.max_fall and (g.high is None or g.high < 0)]
        return point.model_copy(
            update={
                "operating_points": operating,
                "auroc": self._auroc(left.probabilities, rows),
                "groups": groups,
                "falls": tuple(map(str, falls)),
                "refused": bool(falls) and options.on_fall == "refuse",
            }
        )

    def _judged(self, point: BudgetPoint, traced: Trace, seconds: float) -> BudgetResult:
        rows, left = self.held_out, leave(traced, point, self.deciding, self.task)
        return BudgetResult(
            share=float(left.share.mean()),
            auroc=self._auroc(left.probabilities, rows),
            change=self._auroc_change(left.probabilities),
            seconds=seconds,
            exits=self._exits(left),
            groups=self._changes(left, point.operating_points, rows),
            falls=point.falls,
            refused=point.refused,
        )

    def _auroc(self, probabilities: Scores, rows: RowMask) -> float | None:
        return mean_auroc(probabilities, self.targets[rows], self.known[rows])

    def _auroc_change(self, probabilities: Scores) -> MetricValue:
        split = self.judged.evaluated_on
        before = self.judged.predictions.part(split=split)
        table = before.table.copy()
        table["probability"] = probabilities.ravel()
        options = self.settings.evaluation.model_copy(update={"split": split})
        found = compare(_probabilities_alone(before), _probabilities_alone(replace(before, table=table)), options)
        return found.labels[0].difference if len(self.labels) == 1 else found.macro

    def _changes(self, left: Left, points: Sequence[OperatingPoint], rows: RowMask) -> tuple[GroupChange, ...]:
        before = decide(self.whole[rows], self.labels, self.judged.operating_points, self.rule)
        after = decide(left.probabilities, self.labels, points, self.rule)
        evaluation: EvaluationOptions = self.settings.evaluation
        return sensitivity_changes(
            before,
            after,
            self.targets[rows],
            self.known[rows],
            self.labels,
            {name: member[rows] for name, member in self.groups.items()},
            (self.patients[0][rows], self.patients[1]),
            replicates=evaluation.bootstrap,
            seed=evaluation.seed,
            confidence=evaluation.confidence,
        )

    def _exits(self, left: Left) -> tuple[ExitRow, ...]:
        targets, known, whole = self.targets[self.held_out], self.known[self.held_out], self.whole[self.held_out]
        rows: list[ExitRow] = []
        for place, name in enumerate((*self.model.exits, "last")):
            here = left.left_at == place
            counted = known & here[:, None]
            rows.append(ExitRow(name, int(here.sum()), brier(targets[counted], whole[counted])))
        return tuple(rows)

    def _seconds(self, points: Sequence[BudgetPoint]) -> list[float]:
        """Median seconds of an image alone: first without a budget, then at each point, taking turns."""
        count = self.settings.budget.timed_images
        rows = self.prepared.rows[self.held_out][:count]
        stored = (np.array(self.prepared.store[int(row)])[None] for row in rows)
        images = [channels_last(torch.from_numpy(image).to(self.model.mean.device)) for image in stored]
        if not images:
            return [float("nan")] * (1 + len(points))
        ways: list[Callable[[torch.Tensor], object]] = [self.model]
        ways += [self._runner(point) for point in points]
        took = np.empty((len(images), len(ways)))
        with torch.inference_mode(), autocast(self.precision, self.model.mean.device):
            for number, image in enumerate([images[0], *images]):  # the first one warms up
                for way, run in enumerate(ways):
                    began = time.perf_counter()
                    run(image)
                    took[max(0, number - 1), way] = time.perf_counter() - began
        return [float(value) for value in np.median(took, axis=0)]

    def _runner(self, point: BudgetPoint) -> Callable[[torch.Tensor], object]:
        costs: Costs = self.costs
        return lambda image: run_within(self.model, image, point, self.deciding, self.task, costs)


def _probabilities_alone(predictions: Predictions) -> Predictions:
    """Ranked by probability, as raw scores of exits are on scales of their own; decisions have other thresholds."""
    table = predictions.table.drop(columns=["decision", "logit"])
    return replace(predictions, table=table.assign(score=table["probability"]))
