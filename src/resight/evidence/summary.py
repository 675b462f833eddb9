"""What the numbers say in plain sentences: the summary, key figures, decisions as frequencies, and the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resight.evaluation import Evaluation
from resight.evidence.content import ReportContent
from resight.evidence.plots import FEW
from resight.evidence.wording import in_brackets, in_words, interval, listed, metric_name, number, plural, whole
from resight.types import MetricValue

_ENOUGH = 100
"""Positives, and negatives, a validation needs at least (Vergouwe et al. 2005; Collins et al. 2016)."""
_CHANCE = 0.5
"""AUROC of scores that say nothing."""


@dataclass(frozen=True)
class KeyFigure:
    """One figure on top of the report; `words` when it is text, not a number."""

    name: str
    figure: str
    beside: str
    words: bool = False


def summary(content: ReportContent) -> str:
    """One paragraph: the key figure with its interval, on whom, against what, and whether probabilities hold."""
    evaluation = content.evaluation
    who = plural(evaluation.images, f"{content.evaluated_on} image")
    if evaluation.patients < evaluation.images:
        who += f" of {plural(evaluation.patients, 'patient')}"
    return " ".join(
        s for s in (_main_sentence(evaluation, who), _baseline_sentence(evaluation), _trust(evaluation)) if s
    )


def key_figures(content: ReportContent) -> list[KeyFigure]:
    """AUROC, size of the test, best answer without an image, calibration."""
    evaluation = content.evaluation
    name, value = main_metric(evaluation)
    size = f"{content.evaluated_on} images"
    if evaluation.patients < evaluation.images:
        size += f" of {plural(evaluation.patients, 'patient')}"
    if len(evaluation.labels) == 1:
        counts = evaluation.labels[0].counts
        size += f", {counts.positives} with {evaluation.labels[0].label}"
    figures = [_figure(name[0].upper() + name[1:], value), KeyFigure("Tested on", whole(evaluation.images), size)]
    best = metadata_auroc(evaluation)
    if best is None:
        figures.append(KeyFigure("Without the image", "0.50", "AUROC of a coin toss; no metadata to compare with"))
    else:
        figures.append(_figure("Without the image", best, "AUROC of metadata alone"))
    error = _calibration(evaluation).get("ece")
    return [*figures, _figure("Calibration error (ECE)", error, "0 is best")] if error is not None else figures


def main_metric(evaluation: Evaluation) -> tuple[str, MetricValue]:
    """AUROC of the only label, or its mean over the labels where it can be estimated."""
    if len(evaluation.labels) == 1:
        return "AUROC", evaluation.labels[0].metrics["auroc"]
    mean = evaluation.macro.get("auroc", MetricValue.undefined("no label has both positives and negatives"))
    return f"mean AUROC of {evaluation.estimable} labels", mean


def metadata_auroc(evaluation: Evaluation) -> MetricValue | None:
    """AUROC of the metadata baseline, its plain mean where there are many labels; None when there is none."""
    values = [b.metrics["auroc"] for b in evaluation.baselines if b.name == "metadata" and "auroc" in b.metrics]
    known = [value for value in values if not math.isnan(value.value)]
    if not known:
        return None
    return (
        known[0] if len(evaluation.labels) == 1 else MetricValue(float(np.mean([v.value for v in known])), n=len(known))
    )


def frequencies(evaluation: Evaluation) -> list[str]:
    """The first operating point of each label as natural frequencies; only where labels are few."""
    if len(evaluation.labels) > FEW or not evaluation.operating:
        return []
    sentences: list[str] = []
    for result in evaluation.operating:
        sensitivity, specificity = result.metrics["sensitivity"], result.metrics["specificity"]
        if result.name != evaluation.operating[0].name or math.isnan(sensitivity.value + specificity.value):
            continue
        alarms = MetricValue(1 - specificity.value, 1 - specificity.high, 1 - specificity.low, specificity.n)
        sentences.append(
            f"At “{result.name}”, of 100 images with {result.label} about {_of_100(sensitivity)} are flagged; "
            f"of 100 without it about {_of_100(alarms)} are flagged wrongly."
        )
    return sentences


def warnings(content: ReportContent) -> list[str]:
    """What makes the results too good; said before they are given."""
    found: list[str] = []
    if content.leak_check is not None and content.leak_check.passed is False:
        found.append("Training and test images are not independent, so the results below are too good.")
    if content.evaluated_on != "test":
        found.append(
            f"There is no test split. The results are on {content.evaluated_on} images, which also chose the epoch, "
            "the calibration and the thresholds, so they are too good."
        )
    return found


def limits(content: ReportContent) -> list[str]:
    """What these numbers cannot say, from the numbers themselves."""
    evaluation = content.evaluation
    found: list[str] = []
    if content.leak_check is None or content.leak_check.passed is None:
        found.append("It is not established that training and evaluation images are of different patients.")
    small = [r.label for r in evaluation.labels if 0 < min(r.counts.positives, r.counts.negatives) < _ENOUGH]
    if small:
        found.append(
            f"Few cases: fewer than {_ENOUGH} images with or without {listed(small)}. Read the intervals, not the "
            "numbers."
        )
    found += [note if note.endswith(".") else f"{note}." for note in evaluation.notes]
    masked = sum(result.counts.masked for result in evaluation.labels)
    if masked:
        found.append(
            f"Not known, and counted neither as right nor as wrong: {plural(masked, 'label value')} of these images."
        )
    if content.excluded:
        found.append(
            f"{plural(len(content.excluded), 'image')} could not be used; results say nothing about such images."
        )
    if content.sources is None:
        found.append("How many hospitals or devices the images come from was not recorded; assume one.")
    elif content.sources == 1:
        found.append(
            "All images come from one source. Elsewhere, with other devices and patients, results may be worse."
        )
    if len(content.histories) == 1:
        found.append("One network was trained once. The intervals do not hold what another random start would change.")
    if not content.subgroups:
        found.append("Results were not broken down by group, so nothing is known about differences between patients.")
    return [
        *warnings(content),
        *found,
        *content.limits,
        "Reference labels are taken as right. Not evaluated with clinicians and not for clinical use.",
    ]


def interval_note(evaluation: Evaluation) -> str:
    """What the intervals mean and how each metric's was computed."""
    methods: dict[str, list[str]] = {}
    for results in (
        *(r.metrics for r in evaluation.labels),
        evaluation.macro,
        *(o.metrics for o in evaluation.operating),
    ):
        for name, value in results.items():
            if value.interval and name not in methods.setdefault(value.interval, []):
                methods[value.interval].append(name)
    how = "; ".join(f"{method} for {listed(map(metric_name, names), 4)}" for method, names in methods.items())
    meaning = (
        f"The range that goes with a number would hold the true value in about {evaluation.confidence:.0%} of such "
        "studies. A wide range means that there were too few images to know better."
    )
    return meaning + (f" Computed by {how}." if how else "")


def _main_sentence(evaluation: Evaluation, who: str) -> str:
    name, value = main_metric(evaluation)
    if math.isnan(value.value):
        return f"On {who}, the {name} is {in_words(value)}."
    around = interval(value, 2)
    figure = number(value.value, 2) + (f", {evaluation.confidence:.0%} interval {around}" if around else "")
    pairs = f"in {_rounded(value.value)} of 100 such pairs"
    if len(evaluation.labels) == 1:
        label = evaluation.labels[0].label
        what = f"the model ranks an image with {label} above one without it {pairs} (AUROC {figure})"
    else:
        what = f"the model ranks an image with a finding above one without it {pairs}, averaged over "
        what += f"{_labels(evaluation)} (mean AUROC {figure})"
    accuracy = evaluation.overall.get("accuracy")
    most_likely = f" Its most likely class is right for {_of_100(accuracy)} of 100 images." if accuracy else ""
    return f"On {who}, {what}.{most_likely}"


def _labels(evaluation: Evaluation) -> str:
    total = len(evaluation.labels)
    return (
        f"{total} labels"
        if evaluation.estimable == total
        else f"the {evaluation.estimable} of {total} labels that allow it"
    )


def _baseline_sentence(evaluation: Evaluation) -> str:
    parts: list[str] = []
    best, model = metadata_auroc(evaluation), main_metric(evaluation)[1]
    if min(model.value, model.low) <= _CHANCE:
        parts.append("This is not clearly better than a coin toss, which reaches 0.50.")
    elif best is None:
        parts.append("A coin toss would reach 0.50.")
    if best is not None:
        parts.append(f"Without looking at any image, metadata alone reach {in_words(best)}.")
        if model.value <= best.value:
            parts.append("So the model does not beat what is known without the image.")
        elif best.high > model.low:
            parts.append("The two intervals overlap, so what the image adds is uncertain.")
    majority = next((b.metrics["accuracy"] for b in evaluation.baselines if b.name == "majority" and not b.label), None)
    if majority is not None:
        parts.append(f"Always answering the commonest class would be right for {_of_100(majority)}.")
    return " ".join(parts)


def _trust(evaluation: Evaluation) -> str:
    metrics = _calibration(evaluation)
    error, slope = metrics.get("ece"), metrics.get("calibration_slope") if len(evaluation.labels) == 1 else None
    if error is None or math.isnan(error.value):
        return "Whether its probabilities can be taken at their word is not known."
    points = f"{number(100 * error.value, 0)} percentage points on average {in_brackets('ECE', error)}"
    return f"Its stated probabilities are off by {points}{_slope_in_words(slope)}."


def _slope_in_words(slope: MetricValue | None) -> str:
    if slope is None or math.isnan(slope.value) or math.isnan(slope.low):
        return ""
    verdict = ", neither clearly too extreme nor too timid"
    if slope.high < 1:
        verdict = " and too extreme"
    elif slope.low > 1:
        verdict = " and too timid"
    return f"{verdict} {in_brackets('slope', slope)}"


def _calibration(evaluation: Evaluation) -> Mapping[str, MetricValue]:
    if evaluation.overall.get("ece"):
        return evaluation.overall
    return evaluation.labels[0].metrics if len(evaluation.labels) == 1 else evaluation.macro


def _figure(name: str, value: MetricValue, beside: str = "") -> KeyFigure:
    if math.isnan(value.value):
        return KeyFigure(name, "not estimable", value.undefined_because, words=True)
    around = interval(value, 2)
    return KeyFigure(name, number(value.value, 2), ", ".join(part for part in (around, beside) if part))


def _of_100(value: MetricValue) -> str:
    text = _rounded(value.value)
    return text if math.isnan(value.low) else f"{text} ({round(100 * value.low)} to {round(100 * value.high)})"


def _rounded(share: float) -> str:
    """Hundredths as a whole number, but never all or none where it is not all or none."""
    count = round(100 * share)
    if count == 100 and share < 1:
        return "more than 99"
    return "fewer than 1" if count == 0 and share > 0 else str(count)
