"""From logits to probabilities that can be taken at their word, fitted on validation data.

Temperature scaling and its per-class form: Guo et al. 2017, section 4.2; Platt 1999 with his smoothed targets; isotonic
regression: Zadrozny & Elkan 2002. A fit that does not lower the log loss of the data it was fitted on is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.isotonic import IsotonicRegression

from resight.errors import SettingsError
from resight.evaluation.discrimination import Values
from resight.settings import Options, validate
from resight.types import Mask, Scores, Targets, Task

CalibrationMethod = Literal["none", "temperature", "platt", "isotonic"]

_LEAST = {"none": 0, "temperature": 10, "platt": 10, "isotonic": 50}
"""Positives and negatives a method needs at least; a step function overfits sooner than one or two numbers."""
_SIMPLER: Mapping[CalibrationMethod, CalibrationMethod] = {
    "isotonic": "platt",
    "platt": "none",
    "temperature": "none",
}
_SCALES = (1e-2, 1e2)
"""Slopes a logit may be multiplied with; beyond, the data separate the classes and no slope is large enough."""


class LabelCalibration(Options):
    """How one label's logits become probabilities, and what the fit was worth.

    The logit is multiplied by `scale`, shifted by `bias`, and goes through the sigmoid (softmax over the labels of a
    multiclass task); with knots, the result is then looked up on the line through them.
    """

    method: CalibrationMethod = Field(default="none", description="what was fitted in the end")
    scale: float = Field(default=1.0, gt=0, description="factor of the logit: 1 / temperature")
    bias: float = Field(default=0.0, description="shift of the scaled logit")
    knots: tuple[tuple[float, float], ...] = Field(
        default=(), description="uncalibrated and calibrated probability, rising"
    )
    log_loss_before: float | None = Field(default=None, description="of the data it was fitted on, without calibration")
    log_loss_after: float | None = Field(default=None, description="of the data it was fitted on, with it")
    positives: int = Field(default=0, ge=0, description="it was fitted on")
    negatives: int = Field(default=0, ge=0, description="it was fitted on")
    note: str = Field(default="", description="why something simpler than asked for was fitted")


class Calibration(Options):
    """Turns logits into calibrated probabilities; plain numbers, so it is kept in the bundle as JSON."""

    task: Task = Field(description="multiclass couples the labels by a softmax")
    labels: tuple[LabelCalibration, ...] = Field(min_length=1, description="one a logit, in order")

    @model_validator(mode="after")
    def _knots_rise(self) -> Self:
        for label in self.labels:
            x = [knot[0] for knot in label.knots]
            if any(b <= a for a, b in pairwise(x)):
                raise ValueError("knots must rise")
        return self

    def apply(self, logits: Scores) -> Scores:
        """Calibrated probabilities.

        Args:
            logits: `(N, L)`; NaN stays NaN.

        Raises:
            SettingsError: there are more or fewer logits than labels.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise SettingsError(f"logits of shape {logits.shape}", expected=f"(N, {len(self.labels)})")
        scaled = np.asarray(logits, dtype=np.float64) * [c.scale for c in self.labels] + [c.bias for c in self.labels]
        probabilities = softmax(scaled, axis=1) if self.task == "multiclass" else expit(scaled)
        for column, label in enumerate(self.labels):
            if label.knots:
                x, y = np.asarray(label.knots).T
                probabilities[:, column] = np.interp(probabilities[:, column], x, y)
        if self.task == "multiclass" and any(label.knots for label in self.labels):
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote.

        Raises:
            SettingsError: a key is unknown or a value impossible.
        """
        return validate(cls, data, where="calibration")


def fit_calibration(
    logits: Scores, targets: Targets, mask: Mask, task: Task, method: CalibrationMethod = "temperature"
) -> Calibration:
    """Fit a calibration on validation data.

    Binary and multilabel labels are fitted one by one. A multiclass task gets one temperature, a scale and a bias for
    each class (`platt`), or an isotonic line for each class after the softmax, renormalised. Where a label has too few
    positives or negatives for the method, or the fit does not lower the log loss, something simpler is kept, down to no
    calibration, and `note` says why.

    Args:
        logits: `(N, L)` from the model, before sigmoid or softmax.
        targets: `(N, L)`, 0 or 1; other rows do not count.
        mask: true where the target counts.
        task: multiclass couples the labels.
        method: what to fit.

    Returns:
        The calibration; its log loss on these data is never above that of no calibration.

    Raises:
        SettingsError: the shapes differ.
    """
    if not logits.shape == targets.shape == mask.shape:
        raise SettingsError(
            f"logits, targets and mask of shapes {logits.shape}, {targets.shape}, {mask.shape}", expected="equal shapes"
        )
    logits = np.asarray(logits, dtype=np.float64)
    usable = mask & ((targets == 0) | (targets == 1)) & np.isfinite(logits)
    if task == "multiclass":
        rows = usable.all(axis=1) & (np.where(usable, targets, 0).sum(axis=1) == 1)
        return Calibration(task=task, labels=_fit(logits[rows], targets[rows].astype(np.float64), task, method))
    labels: list[LabelCalibration] = []
    for label, rows in enumerate(usable.T):
        one = slice(label, label + 1)
        labels.extend(_fit(logits[rows, one], targets[rows, one].astype(np.float64), task, method))
    return Calibration(task=task, labels=tuple(labels))


def _fit(z: Scores, y: Targets, task: Task, method: CalibrationMethod) -> tuple[LabelCalibration, ...]:
    """Fit labels that belong together (the classes of a multiclass task, or one label), or keep them as they are."""
    positives = y.sum(axis=0).astype(int)
    # The temperature of a multiclass task is one number for all rows; all else rests on single classes.
    shared = task == "multiclass" and method == "temperature"
    fewest = len(y) if shared else int(np.minimum(positives, len(y) - positives).min())
    asked = method
    while fewest < _LEAST[method]:
        method = _SIMPLER[method]
    notes = [f"{asked} needs {_LEAST[asked]} positives and negatives, there are {fewest}"] if method != asked else []
    kept = (LabelCalibration(),) * z.shape[1]
    before = after = _loss(kept, z, y, task) if len(y) else None
    if method != "none" and before is not None:
        fitted = _FITS[method](z, y, task)
        found = _loss(fitted, z, y, task) if fitted else np.inf
        if fitted and found <= before:
            kept, after = fitted, found
        else:
            why = "does not lower the log loss" if fitted else "would turn the ranking round"
            notes.append(f"{method} {why}; none kept")
    facts = {"log_loss_before": before, "log_loss_after": after, "note": "; ".join(notes)}
    counts = [{"positives": int(count), "negatives": len(y) - int(count)} for count in positives]
    return tuple(label.model_copy(update={**facts, **count}) for label, count in zip(kept, counts, strict=True))


def _loss(labels: tuple[LabelCalibration, ...], z: Scores, y: Targets, task: Task) -> float:
    """Mean negative log-likelihood; from logits where it can be, so that certainty does not overflow."""
    if any(label.knots for label in labels):
        p = Calibration(task=task, labels=labels).apply(z)
        return -float(np.mean(np.log(np.where(y > 0, p, 1 if task == "multiclass" else 1 - p)).sum(axis=1)))
    return _logit_loss(z * [c.scale for c in labels] + [c.bias for c in labels], y, task)


def _logit_loss(z: Scores, y: Targets, task: Task) -> float:
    if task == "multiclass":
        return -float(np.mean(np.sum(log_softmax(z, axis=1) * y, axis=1)))
    return float(np.mean(np.logaddexp(0, z) - y * z))


def _temperature(z: Scores, y: Targets, task: Task) -> tuple[LabelCalibration, ...]:
    low, high = np.log(_SCALES)
    smooth = _smooth(y, task)
    found = minimize_scalar(
        lambda log: _logit_loss(z * np.exp(log), smooth, task),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return (LabelCalibration(method="temperature", scale=float(np.exp(found.x))),) * z.shape[1]


def _platt(z: Scores, y: Targets, task: Task) -> tuple[LabelCalibration, ...] | None:
    """Scale and bias of each logit by gradient on standardised logits; None where a scale would not be positive."""
    n, n_labels = z.shape
    centre, spread = z.mean(axis=0), np.where(z.std(axis=0) > 0, z.std(axis=0), 1.0)
    x = (z - centre) / spread
    smooth = _smooth(y, task)

    def loss(weights: Values) -> tuple[float, Values]:
        scaled = weights[:n_labels] * x + weights[n_labels:]
        error = ((softmax(scaled, axis=1) if task == "multiclass" else expit(scaled)) - smooth) / n
        return _logit_loss(scaled, smooth, task), np.concatenate([(error * x).sum(axis=0), error.sum(axis=0)])

    # Bounds keep classes that are separated from running to infinity.
    bounds = [(0.0, _SCALES[1] * s) for s in spread] + [(-_SCALES[1], _SCALES[1])] * n_labels
    start = np.clip(np.concatenate([spread, centre]), *np.transpose(bounds))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    scales = found[:n_labels] / spread
    if np.any(scales < _SCALES[0]):
        return None
    biases = found[n_labels:] - scales * centre
    return tuple(
        LabelCalibration(method="platt", scale=float(scale), bias=float(bias))
        for scale, bias in zip(scales, biases, strict=True)
    )


def _smooth(y: Targets, task: Task) -> Targets:
    """Platt's targets, so that classes the logits separate do not ask for certainty; for K classes as for two."""
    positives = y.sum(axis=0)
    if task == "multiclass":
        count = y @ positives
        n_classes = y.shape[1]
        return (y * count[:, None] + 1) / (count[:, None] + n_classes)
    return np.where(y > 0, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))


def _isotonic(z: Scores, y: Targets, task: Task) -> tuple[LabelCalibration, ...]:
    """Corners of isotonic lines, as far from 0 and 1 as Laplace's rule of succession keeps n equal outcomes."""
    probabilities = softmax(z, axis=1) if task == "multiclass" else expit(z)
    floor = 1 / (len(y) + 2)
    labels: list[LabelCalibration] = []
    for p, outcome in zip(probabilities.T, y.T, strict=True):
        fit = IsotonicRegression(y_min=floor, y_max=1 - floor).fit(p, outcome)
        corners = zip(fit.X_thresholds_, fit.y_thresholds_, strict=True)
        labels.append(LabelCalibration(method="isotonic", knots=tuple((float(a), float(b)) for a, b in corners)))
    return tuple(labels)


_FITS: Mapping[CalibrationMethod, Callable[[Scores, Targets, Task], tuple[LabelCalibration, ...] | None]] = {
    "temperature": _temperature,
    "platt": _platt,
    "isotonic": _isotonic,
}
