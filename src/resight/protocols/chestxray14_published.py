"""Figures that others report for ChestX-ray14, with the split they used and how sure each figure is.

Official and random splits are kept apart: the same model loses about 0.03 of mean AUROC from one to the other.
"""

from __future__ import annotations

from resight.cohorts.chestxray14 import LABELS
from resight.protocols.study import Certainty, Figure

Published = tuple[str, Figure]
"""What was used, and the figure."""


def _mean(network: str, text: str, source: str, certainty: Certainty = "read") -> Published:
    return network, Figure(text, source, certainty)


MEAN_OFFICIAL: tuple[Published, ...] = (
    _mean("ResNet-50", "0.745", "Wang et al. 2017, version 5"),
    _mean("multi-resolution network", "0.761", "Yao et al. 2018", "remembered"),
    _mean("ResNet-38, 448 px, age, sex and view", "0.806", "Baltruschat et al. 2019"),
    _mean("DenseNet with location", "0.807", "Guendel et al. 2018"),
    _mean("DenseNet-121, 224 px", "0.811 (0.804-0.816)", "a thesis of 2026, same recipe as on its random split"),
    _mean("ConvNeXt-S, 384 px", "0.8015", "model card, grisha1998"),
    _mean("Swin-B, 384 px", "0.8069", "model card, grisha1998"),
    _mean("ensemble of three", "0.8222", "model card, grisha1998"),
    _mean("Swin-B, large pre-training", "about 0.83", "Ark", "remembered"),
)
MEAN_RANDOM: tuple[Published, ...] = (
    _mean("ResNet-50", "0.738", "Wang et al. 2017, version 4"),
    _mean("DenseNet and LSTM", "0.803", "Yao et al. 2017"),
    _mean("DenseNet-121", "0.8414", "CheXNet"),
    _mean("DenseNet-121", "0.843", "arnoweng's reproduction of CheXNet, ten crops"),
    _mean("DenseNet-121", "0.838", "jrzech's reproduction of CheXNet"),
    _mean("DenseNet with location", "0.841", "Guendel et al. 2018"),
    _mean("ResNet-38, 448 px, age, sex and view, 5 resamplings", "0.822", "Baltruschat et al. 2019"),
    _mean("DenseNet-121, 224 px", "0.841 (0.833-0.848)", "a thesis of 2026, same recipe as on the official split"),
    _mean("ResNet-50, 224 px", "0.823", "model card, Samer17"),
    _mean("ResNet-50", "0.8368", "model card, mjrq Cura, 83,703 images"),
)
REVIEW: tuple[Published, ...] = (
    _mean("ResNet-50, mean AUROC", "0.841", "the review", "review only"),
    _mean("ResNet-101, mean AUROC", "0.845", "the review", "review only"),
    _mean("ResNet-152, mean AUROC", "0.847", "the review", "review only"),
    _mean("best ResNet, Atelectasis", "0.862", "the review", "review only"),
    _mean("best ResNet, Pneumonia", "0.851", "the review", "review only"),
)
REVIEW_NOTE = (
    "the review does not state the split; its source, as far as it could be read, treats another problem; 0.841 is the "
    "mean of CheXNet, a DenseNet-121 on a random split"
)


def _by_label(source: str, certainty: Certainty, *values: str) -> dict[str, Figure]:
    figures = (Figure(f"0.{value}", source, certainty) for value in values)
    return dict(zip(LABELS, figures, strict=True))


LABELS_OFFICIAL = (
    _by_label(
        *("Wang 2017, ResNet-50", "remembered"),
        *("700", "810", "759", "661", "693", "669", "658", "799", "703", "805", "833", "786", "684", "872"),
    ),
    _by_label(
        *("Guendel 2018", "remembered"),
        *("767", "883", "828", "709", "821", "758", "731", "846", "745", "835", "895", "818", "761", "896"),
    ),
    _by_label(
        *("Baltruschat 2019", "remembered"),
        *("763", "875", "822", "694", "820", "747", "714", "840", "749", "846", "895", "816", "763", "937"),
    ),
)
LABELS_RANDOM = (
    _by_label(
        *("Wang 2017, ResNet-50", "read"),
        *("716", "807", "784", "609", "706", "671", "633", "806", "708", "835", "815", "769", "708", "767"),
    ),
    _by_label(
        *("CheXNet", "read"),
        *("8094", "9248", "8638", "7345", "8676", "7802", "7680", "8887", "7901", "8878", "9371", "8047", "8062"),
        "9164",
    ),
)
IOU_01_WANG = {
    label: Figure(text, "Wang 2017", "remembered")
    for label, text in {
        "Atelectasis": "0.69",
        "Cardiomegaly": "0.94",
        "Effusion": "0.66",
        "Infiltration": "0.71",
        "Mass": "0.40",
        "Nodule": "0.14",
        "Pneumonia": "0.63",
        "Pneumothorax": "0.38",
    }.items()
}
"""Share of boxes found with an intersection over union above 0.1, by their own way from map to box."""
POINTING_ALL = Figure("0.314 (0.246-0.391)", "a thesis of 2026, DenseNet-121, 153 boxes of its own test part", "read")
"""Pointing game of Grad-CAM over all labels."""
