"""What the ChestX-ray14 study says: tables and sentences, all from the numbers of the runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resight.evaluation import Comparison, Evaluation
from resight.evaluation.resampled import corrected_resampled_t_test
from resight.experiments import Run
from resight.protocols.chestxray14_boxes import BoxScores
from resight.protocols.chestxray14_probes import NO_IMAGE, ProbeResult
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

QUESTION = (
    "How well do residual networks find fourteen findings in chest X-rays, is ResNet better than its rivals, and how "
    "much of it do view, sex and age give away? The official split and random ones are different tests and stand apart."
)
FULL_IMAGES = 112_120
PROBES_BY_LABEL = {
    metric: f"Random splits by patient, frozen networks: {metric.upper()} by label, mean over the splits"
    for metric in ("auroc", "auprc")
}
_FIRST_POINT = "youden"
_FEW_POSITIVES = 20


@dataclass(frozen=True)
class Found:
    """Results of all parts.

    Attributes:
        whole: the label table.
        size_px: side of the images.
        by_labels: what is known besides the image -> evaluation on the whole official test list.
        official: model -> run on the official split.
        resampled: model -> runs on the random splits.
        probed: frozen network -> split -> result; what is known without images among them.
        fused: model -> mean AUROC with age, sex and view, and how many labels could be fused.
        comparisons: pairs of models on the official test images.
        boxes: model -> `all` or label -> scores of its maps.
    """

    whole: Cohort
    size_px: int
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
    }
    made["Official split, frozen networks: mean AUROC over the labels"] = _probes_official(found)
    made["Random splits by patient, frozen networks: mean AUROC over the labels"] = _probes_resampled(found)
    made |= {heading: _probes_by_label(found, metric) for metric, heading in PROBES_BY_LABEL.items()}
    for model, run in found.official.items():
        made[f"Official split, {model}: by label"] = _by_label(run)
        made[f"Official split, {model}: decisions at the threshold of Youden, chosen on validation"] = _decisions(run)
    for model, scores in found.boxes.items():
        made[f"Official split, {model}: evidence against the radiologists' boxes"] = _box_rows(scores)
    for model, runs in found.resampled.items():
        made[f"Random splits by patient, {model}: by label"] = _by_label_resampled(runs)
    return {heading: rows for heading, rows in made.items() if rows}


def conclude(found: Found) -> tuple[str, ...]:
    """The sentences that the numbers allow."""
    sentences: list[str] = []
    if found.by_labels:
        means = [f"{name} {e.macro['auroc'].value:.3f}" for name, e in found.by_labels.items()]
        sentences.append(
            f"Without any image the label table reaches a mean AUROC of {' and '.join(means)} on the whole official "
            "test list: what a model has to beat before it is said to see anything."
        )
    sentences += [_about_model(model, run) for model, run in found.official.items()]
    sentences += [_about_pair(first, second, c) for (first, second), c in found.comparisons.items()]
    sentences += [_about_boxes(model, scores["all"]) for model, scores in found.boxes.items() if scores]
    if found.official and (small := _about_size(found)):
        sentences.append(small)
    if probes := _about_probes(found):
        sentences.append(probes)
    if not found.official and not any(found.resampled.values()) and not found.probed:
        sentences.append("No image was looked at: only the label table was studied.")
    if any("Data_Entry_2017.csv" in note for note in found.whole.notes):
        sentences.append(
            "Labels are those of the edition of 2017; the edition of 2020 has others for 181 images of the same lists "
            "and is taken where Data_Entry_2017_v2020.csv lies beside it."
        )
    sentences.append(
        "The review's 0.841 to 0.847 are no target: their split is not stated, the first equals CheXNet's mean on a "
        "random split, and residual networks on the official split are published between 0.745 and 0.806."
    )
    return tuple(sentences)


def _official_means(found: Found) -> list[Row]:
    rows: list[Row] = []
    for model, run in found.official.items():
        evaluation = run.judged.evaluation
        what = f"{evaluation.images} test images of {evaluation.patients} patients, {evaluation.estimable} labels"
        baseline = _metadata_mean(evaluation)
        rows.append(Row(model, "mean AUROC", evaluation.macro["auroc"], baseline=baseline, note=what))
        if model in found.fused:
            value, count = found.fused[model]
            note = f"late fusion fitted on validation images, possible for {count} labels"
            rows.append(Row(f"{model} with age, sex, view", "mean AUROC", value, baseline=baseline, note=note))
    for (first, second), comparison in found.comparisons.items():
        rows.append(Row(f"{second} less {first}", "difference of mean AUROC", comparison.macro, note="paired"))
    return rows + _published_rows(MEAN_OFFICIAL)


def _resampled_means(found: Found) -> list[Row]:
    rows = [
        Row(model, "mean AUROC", _over_splits(_cohorts(runs), [r.judged.evaluation.macro["auroc"].value for r in runs]))
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
        what = f"{evaluation.images} test images of {evaluation.patients} patients, {evaluation.estimable} labels"
        rows.append(Row(name, "mean AUROC", evaluation.macro["auroc"], note=what))
    return rows


def _resampled_results(results: Mapping[str, ProbeResult]) -> list[ProbeResult]:
    return [result for split, result in results.items() if split != "official"]


def _probes_resampled(found: Found) -> list[Row]:
    rows: list[Row] = []
    for name, results in found.probed.items():
        if each := _resampled_results(results):
            values = [result.evaluation.macro["auroc"].value for result in each]
            note = f"sd {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            rows.append(Row(name, "mean AUROC", _over_splits([r.split for r in each], values), note=note))
    return rows


def _probes_by_label(found: Found, metric: str) -> list[Row]:
    """One line a label, one column a frozen network."""
    rows: list[Row] = []
    for name, results in found.probed.items():
        each = _resampled_results(results)
        for column, label in enumerate(each[0].split.labels if each else ()):
            values = [r.evaluation.labels[column].metrics[metric].value for r in each]
            rows.append(Row(label, name, _over_splits([r.split for r in each], values)))
    return rows


def _about_probes(found: Found) -> str:
    """The best frozen network of the random splits against what is known without images, split by split."""
    means = {
        name: np.array([r.evaluation.macro["auroc"].value for r in _resampled_results(results)])
        for name, results in found.probed.items()
    }
    blind = means.pop(NO_IMAGE, np.array([]))
    if len(blind) < 2 or not means:
        return ""
    best = max(means, key=lambda name: float(means[name].mean()))
    splits = [r.split for r in _resampled_results(found.probed[best])]
    train, test = _patients(splits)
    tested = corrected_resampled_t_test(means[best], blind, n_train=train, n_test=test)
    verdict = "more" if tested.low > 0 else "not certainly more"
    return (
        f"Of the frozen networks, the largest mean AUROC over {len(blind)} random splits is that of {best}, "
        f"{means[best].mean():.3f}; {NO_IMAGE} alone reach {blind.mean():.3f} on the same images. The difference is "
        f"{tested.difference:+.3f} ({tested.low:+.3f} to {tested.high:+.3f}): the images tell {verdict} than the table."
    )


def _by_label(run: Run) -> list[Row]:
    evaluation = run.judged.evaluation
    known = {b.label: b.metrics["auroc"] for b in evaluation.baselines if b.name == "metadata"}
    rows: list[Row] = []
    for result in evaluation.labels:
        published = tuple(figures[result.label] for figures in LABELS_OFFICIAL)
        note = f"{result.counts.positives} positives"
        auroc, auprc = result.metrics["auroc"], result.metrics["auprc"]
        rows.append(Row(result.label, "AUROC", auroc, published, baseline=known.get(result.label), note=note))
        share = result.counts.positives / (result.counts.positives + result.counts.negatives)
        rows.append(Row(result.label, "AUPRC", auprc, baseline=MetricValue(share)))
    return rows


def _decisions(run: Run) -> list[Row]:
    return [
        Row(result.label, {"ppv": "PPV"}.get(metric, metric), result.metrics[metric])
        for result in run.judged.evaluation.operating
        if result.name == _FIRST_POINT
        for metric in ("sensitivity", "specificity", "ppv")
    ]


def _box_rows(scores: Mapping[str, BoxScores]) -> list[Row]:
    rows: list[Row] = []
    for name, score in scores.items():
        published: tuple[Figure, ...] = (POINTING_ALL,) if name == "all" else ()
        what = f"{name} ({score.boxes} boxes)"
        note = "without images: the middle of the image"
        rows.append(Row(what, "pointing game", score.pointing, published, baseline=score.centre, note=note))
        for threshold, value in score.iou.items():
            reported = (IOU_01_WANG[name],) if name in IOU_01_WANG and threshold == min(score.iou) else ()
            if name == "all" or reported:
                rows.append(Row(what, f"boxes with IoU above {threshold:g}", value, reported))
        if name == "all":
            rows += [Row(what, f"boxes with IoBB above {t:g}", value) for t, value in score.iobb.items()]
    return rows


def _by_label_resampled(runs: Sequence[Run]) -> list[Row]:
    if not runs:
        return []
    rows: list[Row] = []
    for column, label in enumerate(runs[0].prepared.cohort.labels):
        values = [run.judged.evaluation.labels[column].metrics["auroc"].value for run in runs]
        published = tuple(figures[label] for figures in LABELS_RANDOM)
        rows.append(Row(label, "AUROC", _over_splits(_cohorts(runs), values), published))
    return rows


def _cohorts(runs: Sequence[Run]) -> list[Cohort]:
    return [run.prepared.cohort for run in runs]


def _patients(splits: Sequence[Cohort]) -> tuple[int, int]:
    """Mean numbers of patients that are trained on, and that judge."""
    tables = [split.table for split in splits]
    train, test = (
        round(float(np.mean([table.loc[table["split"] == part, "patient_id"].nunique() for table in tables])))
        for part in ("train", "test")
    )
    return train, test


def _over_splits(splits: Sequence[Cohort], values: Sequence[float]) -> MetricValue:
    """Mean over random splits with the corrected interval of Nadeau and Bengio 2003."""
    if any(map(math.isnan, values)):
        count = sum(map(math.isnan, values))
        return MetricValue.undefined(f"not estimable on {count} of {len(values)} splits", n=len(values))
    train, test = _patients(splits)
    tested = corrected_resampled_t_test(np.array(values), np.zeros(len(values)), n_train=train, n_test=test)
    if tested.undefined_because:
        return MetricValue(tested.difference, n=len(values))
    low, high = max(0.0, tested.low), min(1.0, tested.high)
    return MetricValue(tested.difference, low, high, len(values), interval=f"corrected t, {len(values)} random splits")


def _metadata_mean(evaluation: Evaluation) -> MetricValue | None:
    values = [b.metrics["auroc"].value for b in evaluation.baselines if b.name == "metadata"]
    defined = [value for value in values if not math.isnan(value)]
    return MetricValue(float(np.mean(defined)), n=len(defined)) if defined else None


def _about_model(model: str, run: Run) -> str:
    evaluation = run.judged.evaluation
    mean, baseline = evaluation.macro["auroc"], _metadata_mean(evaluation)
    few = [r.label for r in evaluation.labels if 0 < r.counts.positives < _FEW_POSITIVES]
    text = f"{model} reaches a mean AUROC of {mean} on {evaluation.images} official test images"
    if baseline:
        over = "more than" if mean.low > baseline.value else "not certainly more than"
        text += f", {over} age, sex and view alone on the same images ({baseline} over {baseline.n} labels)"
    if few:
        text += f"; {len(few)} labels have fewer than {_FEW_POSITIVES} positives there and say next to nothing"
    return text + "."


def _about_pair(first: str, second: str, comparison: Comparison) -> str:
    difference = comparison.macro
    certain = difference.low > 0 or difference.high < 0
    verdict = "a difference" if certain else "no difference that could not be chance"
    return f"{second} less {first}: {difference} of mean AUROC on the same images: {verdict}."


def _about_boxes(model: str, score: BoxScores) -> str:
    better = score.pointing.low > score.centre.value
    verdict = "more than" if better else "not certainly more than"
    return (
        f"The strongest evidence of {model} hits {score.pointing} of {score.boxes} boxes, {verdict} the middle of the "
        f"image does ({score.centre})."
    )


def _about_size(found: Found) -> str:
    run = next(iter(found.official.values()))
    images, patients = len(run.prepared.cohort), run.judged.evaluation.patients
    if images >= FULL_IMAGES:
        return ""
    return (
        f"{images:,} images of {found.size_px} px instead of {FULL_IMAGES:,} of 1024 px, and {patients} patients in "
        "the test part: this shows that the street from the published files to the figures works, and how wide honest "
        "intervals are. It cannot rank networks, reach published levels, or show small findings, such as nodules."
    )
