"""Files of the skin study: predictions of the test images and of every model, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import softmax

from resight.evidence.figures import Axis, Chart, Interval, Line
from resight.protocols.charts import standalone, standalone_intervals, write_charts
from resight.protocols.isic2017_networks import Answers
from resight.protocols.isic2017_words import MEAN, Found, counted, official_metric
from resight.types import Cohort, RowMask

ALL_PREDICTIONS: Final = "predictions.csv.gz"
_CHART_PX = (300, 210)


def write_test_predictions(path: Path, answers: Answers, cohort: Cohort) -> None:
    """Probabilities of the challenge's two classes for the test images, with the names of the challenge."""
    rows = (cohort.table["split"] == "test").to_numpy()
    _probabilities(answers, cohort, rows).to_csv(path, index=False, lineterminator="\n")


def write_all_predictions(path: Path, found: Found) -> None:
    """Probabilities of every model, short runs left out, for the images of validation and test, a line each."""
    rows = (found.cohort.table["split"] != "train").to_numpy()
    tables = [
        _probabilities(answers, found.cohort, rows).assign(
            model=answers.name, split=found.cohort.table["split"][rows].to_numpy()
        )
        for answers in found.answers
    ]
    pd.concat(tables).to_csv(path, index=False, lineterminator="\n", compression={"method": "gzip", "mtime": 0})


def draw(found: Found, folder: Path) -> dict[str, str]:
    """Draw what the study measured; file name -> caption."""
    pictures = {
        "models.svg": (
            f"{MEAN[0].upper()}{MEAN[1:]} with its interval: {counted(found.cohort, 'validation')}, and "
            f"{counted(found.cohort, 'train')} where answers can be out of fold",
            _models(found),
        )
    }
    charts = _training(found)
    if charts:
        caption = "Mean AUROC of the three classes on the validation images over the epochs"
        pictures["training.svg"] = (caption, standalone("Training of the networks", charts, columns=3))
    return write_charts(folder, pictures)


def _models(found: Found) -> str:
    panels: list[tuple[str, list[Interval]]] = []
    for split in ("validation", "train"):
        shown = [a for a in found.answers if split == "validation" or a.out_of_fold]
        values = [(a.name, official_metric(a, found.cohort, split)[MEAN]) for a in shown]
        panels.append((counted(found.cohort, split), [Interval(n, v, note=f"{v.value:.3f}") for n, v in values]))
    return standalone_intervals("Mean AUROC of all models", panels, Axis(MEAN, 0.5, 1.0))


def _training(found: Found) -> list[tuple[str, Chart]]:
    charts: list[tuple[str, Chart]] = []
    for answers in found.answers:
        if answers.history:
            values = np.array([epoch["validation_auroc"] for epoch in answers.history])
            x, y = Axis("Epoch", 1, max(2, len(values))), Axis("AUROC, validation", 0.4, 1.0)
            line = Line("", np.arange(1.0, len(values) + 1), values, dots=True)
            charts.append((answers.name, Chart(answers.name, x, y, (line,), _CHART_PX)))
    return charts


def _probabilities(answers: Answers, cohort: Cohort, rows: RowMask) -> pd.DataFrame:
    probability = softmax(answers.logits[rows], axis=1)
    return pd.DataFrame(
        {
            "image_id": [Path(name).stem for name in cohort.table["image"][rows]],
            "melanoma": probability[:, 0].round(6),
            "seborrheic_keratosis": probability[:, 1].round(6),
        }
    )
