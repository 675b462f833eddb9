"""Numbers and names in words: how metrics are called, how a value is written, what a reader needs to know of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from markupsafe import Markup

from resight.types import MetricValue

NAMES: dict[str, str] = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "partial_auroc": "Partial AUROC",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "ECE",
    "debiased_rms_error": "RMS calibration error",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "mcc": "MCC",
    "observed_minus_expected": "Observed less expected",
    "cohen_kappa": "Cohen’s kappa",
}

GLOSSARY: dict[str, str] = {
    "auroc": "How often an image with the finding gets a higher score than one without. 0.5 is a coin toss, 1 is never "
    "wrong. It does not depend on how common the finding is.",
    "auprc": "How many of the images the model ranks highest really have the finding. A model that knows nothing gets "
    "the share of positives, so compare it with that share, not with 0.5.",
    "sensitivity": "Of all images with the finding, the share that is flagged. What is missing to 100% are missed "
    "cases.",
    "specificity": "Of all images without the finding, the share that is left alone. What is missing to 100% are "
    "false alarms.",
    "ppv": "Of all flagged images, the share that really has the finding; NPV is the same for images that are not "
    "flagged. Both change with how common the finding is where the model is used.",
    "ece": "By how much a stated probability differs from what really happened, on average. 0 is best; in small test "
    "sets chance alone makes it larger than 0.",
    "calibration_slope": "1 is right. Below 1 the probabilities are too extreme, above 1 too timid.",
    "calibration_intercept": "0 is right. Below 0 the probabilities are too high on average, above 0 too low.",
    "observed_minus_expected": "Share of images with the finding less the mean probability. 0 is right; above 0 the "
    "model promises too little in this group, below 0 too much.",
    "brier": "Mean squared distance between probability and truth. 0 is best; compare with the baseline, which says "
    "the share of positives for every image.",
    "net_benefit": "What acting on the model is worth against treating everybody or nobody, at the probability at "
    "which one would act.",
}

TERMS: dict[str, str] = {
    "Youden": "The threshold at which sensitivity and specificity together are largest.",
    "Equalised-odds gap": "The difference of sensitivity, or of the share of false alarms, between the groups that are "
    "furthest apart, whichever is larger. 0: the groups are served alike.",
    "Calibration gap": "The same for observed less expected: for whom probabilities promise most and least.",
    "Holm's correction": "Of many tests some find a difference by chance. The correction keeps the chance that any of "
    "them does at 5%.",
    "Pointing game": "How often the strongest evidence of a map lies in the marked finding.",
    "IoU": "Area that map and marked finding share, of the area that either covers. 1: they agree.",
    "Infidelity": "How far a map is from telling what small changes of the image do to the answer. 0 is best.",
    "Policy": "The rule by which an image goes to the model, to a reader, or to both.",
}
"""Words of the sections on groups, explanations and people."""

_POINT = re.compile(r"^(sensitivity|specificity)_at_(sensitivity|specificity)_(0?\.\d+|1)$")


def metric_name(name: str) -> str:
    """How a metric is called in print; an unknown one by its own name with blanks."""
    if point := _POINT.match(name):
        return f"{point[1].capitalize()} at {float(point[3]):.0%} {point[2]}"
    return NAMES.get(name, name.replace("_", " ").capitalize())


def number(value: float, digits: int = 3) -> str:
    """A number with so many decimals and a real minus sign; one decimal more where it would be rounded up to 1."""
    text = f"{value:.{digits}f}"
    if value < 1 and float(text) == 1:
        text = f"{value:.{digits + 1}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def whole(value: int) -> str:
    """A count, thousands set apart by a narrow blank."""
    return f"{value:,}".replace(",", "\u202f")


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{whole(count)} {noun}" + ("" if count == 1 else "s")


def interval(value: MetricValue, digits: int = 3) -> str:
    """`0.812 to 0.905`; empty where there is none."""
    return "" if math.isnan(value.low) else f"{number(value.low, digits)} to {number(value.high, digits)}"


def in_words(value: MetricValue, digits: int = 2) -> str:
    """`0.87 (0.81 to 0.91)`, or why there is no number."""
    if math.isnan(value.value):
        return f"not estimable ({value.undefined_because or 'no reason was recorded'})"
    around = interval(value, digits)
    return number(value.value, digits) + (f" ({around})" if around else "")


def in_brackets(name: str, value: MetricValue, digits: int = 2) -> str:
    """`(ECE 0.04, interval 0.02 to 0.07)`."""
    around = interval(value, digits)
    return f"({name} {number(value.value, digits)}" + (f", interval {around})" if around else ")")


def cell(value: MetricValue | None, digits: int = 3) -> Markup:
    """A value for a table: the number with its interval, or that it is not estimable and why."""
    if value is None:
        return Markup('<span class="why">not computed</span>')
    if math.isnan(value.value):
        reason = value.undefined_because or "no reason was recorded"
        return Markup('<span class="none">not estimable</span> <span class="why">({})</span>').format(reason)
    around = interval(value, digits)
    shown = Markup("{}").format(number(value.value, digits))
    return shown + (Markup(' <span class="ci">{}</span>').format(around) if around else Markup(""))


def listed(items: Iterable[str], most: int = 6) -> str:
    """`a, b and c`; `a, b and 5 more` when there are many."""
    names = list(items)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
