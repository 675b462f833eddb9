"""The tables of the ChestX-ray14 study: the official split and random ones never share one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from resight.evaluation import Comparison, Evaluation
from resight.evaluation.resampled import corrected_resampled_t_test
from resight.experiments import Run
from resight.protocols.chestxray14_boxes import BoxScores
from resight.protocols.chestxray14_probes import ProbeResult
from resight.protocols.chestxray14_published import (
    IOU_01_WANG,
    LABELS_OFFICIAL,
    LABELS_RANDOM,
    MEAN_OFFICIAL,
    MEAN_RANDOM,
    POINTING_ALL,
    REVIEW,
    REVIEW_NOTE,
    Published,
)
from resight.protocols.study import NOT_OURS, Figure, Row
from resight.types import Cohort, MetricValue

WIDE: Final = (", label by label", ", box by box")
"""How headings end whose tables have one column a network."""
_FIRST_POINT: Final = "youden"


@dataclass(frozen=True)
class Found:
    """Results of all parts.

    Attributes:
        whole: the label table.
        by_labels: what is known besides the image -> evaluation on the whole official test list.
        official: model -> run on the official split.
        resampled: model -> runs on the random splits.
        probed: frozen network -> split -> result; what is known without images among them.
        fused: model -> mean AUROC with age, sex and view, and how many labels could be fused.
        comparisons: pairs of models on the official test images.
        boxes: model -> `all` or label -> scores of its maps.
    """

    whole: Cohort
    by_labels: Mapping[str, Evaluation]
    official: Mapping[str, Run]
    resampled: Mapping[str, Sequence[Run]]
    fused: Mapping[str, tuple[MetricValue, int]]
    probed: Mapping[str, Mapping[str, ProbeResult]]
    comparisons: Mapping[tuple[str, str], Comparison]
    boxes: Mapping[str, Mapping[str, BoxScores]]


def tables(found: Found) -> dict[str, list[Row]]:
    """Heading -> rows; the official split and random ones never share a table."""
    made = {
        "Official split: mean AUROC over the labels": _official_means(found),
        "Random splits by patient: mean AUROC over the labels": _resampled_means(found),
        "The review's figures (split not stated)": [
            Row(what, "AUROC", review=figure, note="" if number else REVIEW_NOTE, absent=NOT_OURS)
            for number, (what, figure) in enumerate(REVIEW)
        ],
        "Official test list, all 25,596 images: the label table alone": _label_table(found),
        "Official split, frozen networks: mean AUROC over the labels": _probes_official(found),
        "Random splits by patient, frozen networks: mean AUROC over the labels": _probes_resampled(found),
    }
    for metric in ("auroc", "auprc"):
        named = metric.upper()
        made[f"Official split: {named}, label by label"] = _by_label(found, metric)
        made[f"Random splits by patient: {named}, mean over the splits, label by label"] = _by_label_resampled(
            found, metric
        )
        made[f"Random splits by patient, frozen networks: {named}, mean over the splits, label by label"] = (
            _probes_by_label(found, metric)
        )
    for metric, named in (("sensitivity", "sensitivity"), ("specificity", "specificity"), ("ppv", "PPV")):
        heading = f"Official split: {named} at the threshold of Youden, chosen on validation, label by label"
        made[heading] = _decisions(found, metric)
    made["Official split: evidence against the radiologists' boxes, box by box"] = _box_rows(found.boxes)
    return {heading: rows for heading, rows in made.items() if rows}


def _official_means(found: Found) -> list[Row]:
    rows: list[Row] = []
    for model, run in found.official.items():
        evaluation = run.judged.evaluation
        baseline = metadata_mean(evaluation)
        of_baseline = f"; without images {baseline.n} labels" if baseline else ""
        what = f"{_judged_on(evaluation)}, {run_side_px(run)} px{of_baseline}"
        rows.append(Row(model, "mean AUROC", evaluation.macro["auroc"], baseline=baseline, note=what))
        if model in found.fused:
            value, count = found.fused[model]
            note = f"late fusion fitted on validation images, possible for {count} labels"
            rows.append(Row(f"{model} with age, sex, view", "mean AUROC", value, baseline=baseline, note=note))
    for (first, second), comparison in found.comparisons.items():
        rows.append(
            Row(f"{second} less {first}", "difference of mean AUROC", comparison.macro, note="paired", signed=True)
        )
    return rows + _published_rows(MEAN_OFFICIAL)


def _judged_on(evaluation: Evaluation) -> str:
    return f"{evaluation.images} test images of {evaluation.patients} patients, {evaluation.estimable} labels"


def run_side_px(run: Run) -> int:
    """Side of the images of a run."""
    return run.prepared.store.recipe.size_px[0]


def _resampled_means(found: Found) -> list[Row]:
    rows = [
        Row(model, "mean AUROC", over_splits(_cohorts(runs), [r.judged.evaluation.macro["auroc"].value for r in runs]))
        for model, runs in found.resampled.items()
        if runs
    ]
    return rows + _published_rows(MEAN_RANDOM)


def _published_rows(figures: Iterable[Published]) -> list[Row]:
    return [Row(network, "mean AUROC", published=(figure,), absent=NOT_OURS) for network, figure in figures]


def _label_table(found: Found) -> list[Row]:
    rows = [
        Row(name, "mean AUROC", evaluation.macro["auroc"], note="rates counted on train_val only")
        for name, evaluation in found.by_labels.items()
    ]
    if found.by_labels:
        name, evaluation = list(found.by_labels.items())[-1]
        rows += [Row(f"{name}: {r.label}", "AUROC", r.metrics["auroc"]) for r in evaluation.labels]
    return rows


def _probes_official(found: Found) -> list[Row]:
    parts = {name: results["official"] for name, results in found.probed.items() if "official" in results}
    rows: list[Row] = []
    for name, result in parts.items():
        evaluation = result.evaluation
        rows.append(Row(name, "mean AUROC", evaluation.macro["auroc"], note=_judged_on(evaluation)))
    return rows


def _probes_resampled(found: Found) -> list[Row]:
    rows: list[Row] = []
    for name, results in found.probed.items():
        if each := resampled_results(results):
            values = [result.evaluation.macro["auroc"].value for result in each]
            note = f"sd {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            rows.append(Row(name, "mean AUROC", over_splits([r.split for r in each], values), note=note))
    return rows


def _probes_by_label(found: Found, metric: str) -> list[Row]:
    """One line a label, one column a frozen network."""
    rows: list[Row] = []
    for name, results in found.probed.items():
        each = resampled_results(results)
        for column, label in enumerate(each[0].split.labels if each else ()):
            values = [r.evaluation.labels[column].metrics[metric].value for r in each]
            rows.append(Row(label, name, over_splits([r.split for r in each], values)))
    return rows


def _by_label(found: Found, metric: str) -> list[Row]:
    """One line a label, one column a network; what is known without images and what others report stand beside."""
    rows: list[Row] = []
    for model, run in found.official.items():
        rows += [Row(r.label, model, r.metrics[metric]) for r in run.judged.evaluation.labels]
    for run in list(found.official.values())[:1]:  # all are judged on the same images
        for result in run.judged.evaluation.labels:
            positives, negatives = result.counts.positives, result.counts.negatives
            rows.append(Row(result.label, "positives", absent=f"{positives} of {positives + negatives}"))
        if metric == "auroc":
            known = [b for b in run.judged.evaluation.baselines if b.name == "metadata"]
            rows += [Row(b.label, "age, sex and view alone", b.metrics["auroc"]) for b in known]
            rows += _reported(LABELS_OFFICIAL)
    return rows


def _reported(figures: Sequence[Mapping[str, Figure]]) -> list[Row]:
    """What others report, label by label."""
    return [
        Row(label, f"{figure.source} ({figure.certainty})", published=(figure,), absent=figure.text)
        for reported in figures
        for label, figure in reported.items()
    ]


def _decisions(found: Found, metric: str) -> list[Row]:
    return [
        Row(result.label, model, result.metrics[metric])
        for model, run in found.official.items()
        for result in run.judged.evaluation.operating
        if result.name == _FIRST_POINT
    ]


def _by_label_resampled(found: Found, metric: str) -> list[Row]:
    rows: list[Row] = []
    for model, runs in found.resampled.items():
        for column, label in enumerate(runs[0].prepared.cohort.labels if runs else ()):
            values = [run.judged.evaluation.labels[column].metrics[metric].value for run in runs]
            rows.append(Row(label, model, over_splits(_cohorts(runs), values)))
    return rows + (_reported(LABELS_RANDOM) if rows and metric == "auroc" else [])


def _box_rows(boxes: Mapping[str, Mapping[str, BoxScores]]) -> list[Row]:
    """One line a label and measure, one column a network; the middle of the image and what others report beside."""
    rows: list[Row] = []
    for model, scores in boxes.items():
        for name, score in scores.items():
            what = f"{name} ({score.boxes} boxes)"
            rows.append(Row(f"{what}: pointing game", model, score.pointing))
            for threshold, value in score.iou.items():
                if name == "all" or threshold == min(score.iou):
                    rows.append(Row(f"{what}: IoU above {threshold:g}", model, value))
            if name == "all":
                rows += [Row(f"{what}: IoBB above {t:g}", model, value) for t, value in score.iobb.items()]
    for scores in list(boxes.values())[:1]:  # all are judged on the same boxes
        for name, score in scores.items():
            what = f"{name} ({score.boxes} boxes)"
            rows.append(Row(f"{what}: pointing game", "middle of the image", score.centre))
            if name == "all":
                rows.append(_beside(f"{what}: pointing game", POINTING_ALL))
            elif name in IOU_01_WANG:
                rows.append(_beside(f"{what}: IoU above {min(score.iou):g}", IOU_01_WANG[name]))
    return rows


def _beside(what: str, figure: Figure) -> Row:
    text = f"{figure.text} ({figure.source}; {figure.certainty})"
    return Row(what, "published, other boxes", published=(figure,), absent=text)


def resampled_results(results: Mapping[str, ProbeResult]) -> list[ProbeResult]:
    """Those of the random splits, in order."""
    return [result for split, result in results.items() if split != "official"]


def _cohorts(runs: Sequence[Run]) -> list[Cohort]:
    return [run.prepared.cohort for run in runs]


def patients(splits: Sequence[Cohort]) -> tuple[int, int]:
    """Mean numbers of patients that are trained on, and that judge."""
    tables = [split.table for split in splits]
    train, test = (
        round(float(np.mean([table.loc[table["split"] == part, "patient_id"].nunique() for table in tables])))
        for part in ("train", "test")
    )
    return train, test


def over_splits(splits: Sequence[Cohort], values: Sequence[float]) -> MetricValue:
    """Mean over random splits with the corrected interval of Nadeau and Bengio 2003."""
    if any(map(math.isnan, values)):
        count = sum(map(math.isnan, values))
        return MetricValue.undefined(f"not estimable on {count} of {len(values)} splits", n=len(values))
    train, test = patients(splits)
    tested = corrected_resampled_t_test(np.array(values), np.zeros(len(values)), n_train=train, n_test=test)
    if tested.undefined_because:
        return MetricValue(tested.difference, n=len(values))
    low, high = max(0.0, tested.low), min(1.0, tested.high)
    return MetricValue(tested.difference, low, high, len(values), interval=f"corrected t, {len(values)} random splits")


def metadata_aurocs(evaluation: Evaluation) -> dict[str, float]:
    """Label -> AUROC of age, sex and view alone, where it is defined."""
    values = {b.label: b.metrics["auroc"].value for b in evaluation.baselines if b.name == "metadata"}
    return {label: value for label, value in values.items() if not math.isnan(value)}


def metadata_mean(evaluation: Evaluation) -> MetricValue | None:
    """Mean AUROC of age, sex and view alone over the labels where it is defined; None where it is nowhere."""
    values = list(metadata_aurocs(evaluation).values())
    return MetricValue(float(np.mean(values)), n=len(values)) if values else None
