"""What the ChestX-ray14 study says, all from the numbers of the runs."""

from __future__ import annotations

from typing import Final

import numpy as np

from resight.evaluation import Comparison
from resight.evaluation.resampled import corrected_resampled_t_test
from resight.experiments import Run
from resight.protocols.chestxray14_boxes import BoxScores
from resight.protocols.chestxray14_probes import NO_IMAGE
from resight.protocols.chestxray14_tables import Found, metadata_mean, patients, resampled_results

QUESTION: Final = (
    "How well do residual networks find fourteen findings in chest X-rays, is ResNet better than its rivals, and how "
    "much of it do view, sex and age give away? The official split and random ones are different tests and stand apart."
)
FULL_IMAGES: Final = 112_120
_FEW_POSITIVES: Final = 20


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


def _about_probes(found: Found) -> str:
    """The best frozen network of the random splits against what is known without images, split by split."""
    means = {
        name: np.array([r.evaluation.macro["auroc"].value for r in resampled_results(results)])
        for name, results in found.probed.items()
    }
    blind = means.pop(NO_IMAGE, np.array([]))
    if len(blind) < 2 or not means:
        return ""
    best = max(means, key=lambda name: float(means[name].mean()))
    splits = [r.split for r in resampled_results(found.probed[best])]
    train, test = patients(splits)
    tested = corrected_resampled_t_test(means[best], blind, n_train=train, n_test=test)
    verdict = "more" if tested.low > 0 else "not certainly more"
    return (
        f"Of the frozen networks, the largest mean AUROC over {len(blind)} random splits is that of {best}, "
        f"{means[best].mean():.3f}; {NO_IMAGE} alone reach {blind.mean():.3f} on the same images. The difference is "
        f"{tested.difference:+.3f} ({tested.low:+.3f} to {tested.high:+.3f}): the images tell {verdict} than the table."
    )


def _about_model(model: str, run: Run) -> str:
    evaluation = run.judged.evaluation
    mean, baseline = evaluation.macro["auroc"], metadata_mean(evaluation)
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
    if score.empty == score.boxes:
        return (
            f"The maps of {model} are empty at all {score.boxes} boxes: nothing in these images speaks for the "
            "finding, and where the evidence lies cannot be judged."
        )
    better = score.pointing.low > score.centre.value
    verdict = "more than" if better else "not certainly more than"
    return (
        f"The strongest evidence of {model} hits {score.pointing} of {score.boxes} boxes, {verdict} the middle of the "
        f"image does ({score.centre}).{_about_empty(score)}"
    )


def _about_empty(score: BoxScores) -> str:
    return f" {score.empty} of these maps are empty and count as a random place does." if score.empty else ""


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
