"""What the ChestX-ray14 study says, all from the numbers of the runs."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

import numpy as np

from resight.evaluation import Comparison
from resight.evaluation.resampled import corrected_resampled_t_test
from resight.experiments import Run
from resight.protocols.chestxray14_boxes import BoxScores
from resight.protocols.chestxray14_probes import NO_IMAGE
from resight.protocols.chestxray14_tables import Found, metadata_aurocs, patients, resampled_results, run_side_px
from resight.protocols.study import signed

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
    sentences += _about_models(found.official)
    sentences += _about_pairs(found.comparisons)
    sentences += _about_maps({model: scores["all"] for model, scores in found.boxes.items() if scores})
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


def _about_models(official: Mapping[str, Run]) -> list[str]:
    """What every network reaches, beside what age, sex and view do on the labels where these can be fitted."""
    if not official:
        return []
    first = next(iter(official.values())).judged.evaluation  # all are judged on the same images
    reached = [f"{model} {run.judged.evaluation.macro['auroc']}" for model, run in official.items()]
    sentences = [
        f"Mean AUROC over {first.estimable} labels on {first.images} official test images of {first.patients} "
        f"patients: {', '.join(reached)}."
    ]
    if known := metadata_aurocs(first):
        alone = float(np.mean(list(known.values())))
        means = {model: _mean_over(run, known.keys()) for model, run in official.items()}
        worst, best = (choose(means, key=means.__getitem__) for choose in (min, max))
        above = sum(mean > alone for mean in means.values())
        sentences.append(
            f"Age, sex and view alone, fitted on the training images, reach {alone:.3f} over the {len(known)} labels "
            f"where that is possible; on the same labels networks lie between {means[worst]:.3f} ({worst}) and "
            f"{means[best]:.3f} ({best}), {above or 'none'} of {len(means)} above."
        )
    if few := [r.label for r in first.labels if 0 < r.counts.positives < _FEW_POSITIVES]:
        sentences.append(
            f"{len(few)} labels have fewer than {_FEW_POSITIVES} positives there and say next to nothing: "
            f"{', '.join(few)}."
        )
    return sentences


def _mean_over(run: Run, labels: Container[str]) -> float:
    values = [r.metrics["auroc"].value for r in run.judged.evaluation.labels if r.label in labels]
    return float(np.mean(values))


def _about_pairs(comparisons: Mapping[tuple[str, str], Comparison]) -> list[str]:
    if not comparisons:
        return []
    (first, _), *_ = comparisons
    differences = [f"{second} {signed(c.macro)}" for (_, second), c in comparisons.items()]
    apart = [second for (_, second), c in comparisons.items() if c.macro.low > 0 or c.macro.high < 0]
    return [
        f"Mean AUROC less that of {first}, on the same images: {', '.join(differences)}. The interval leaves out 0 for "
        f"{' and '.join(apart) or 'none'} (95 % each, not corrected for {len(comparisons)} comparisons)."
    ]


def _about_maps(boxes: Mapping[str, BoxScores]) -> list[str]:
    empty = [model for model, score in boxes.items() if score.empty == score.boxes]
    sentences = [_about_boxes(model, score) for model, score in boxes.items() if model not in empty]
    if empty:
        sentences.append(
            f"The maps of {', '.join(empty)} are empty at all {boxes[empty[0]].boxes} boxes: nothing in these images "
            "speaks for the finding, and where the evidence lies cannot be judged."
        )
    return sentences


def _about_boxes(model: str, score: BoxScores) -> str:
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
    sides = " and ".join(map(str, sorted({run_side_px(each) for each in found.official.values()})))
    return (
        f"{images:,} images of {sides} px instead of {FULL_IMAGES:,} of 1024 px, and {patients} patients in the test "
        "part: this shows that the street from the published files to the figures works, and how wide honest "
        "intervals are. It cannot rank networks, reach published levels, or show small findings, such as nodules."
    )
