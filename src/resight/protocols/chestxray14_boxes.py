"""Does the evidence lie in the 984 boxes that radiologists drew (Wang et al. 2017, section 5.3)?

A box counts as found when the intersection over union (IoU), or the share of the predicted box that lies in it (IoBB),
exceeds a threshold. All boxes lie on images of the official test list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int

from resight.cohorts.chestxray14 import GRID_PX
from resight.evaluation import patient_index, proportion
from resight.experiments.prepare import Prepared
from resight.explain import box_region, build_explainer, centre_map, localise, overlap
from resight.models import Classifier
from resight.types import MetricValue, PerSample

THRESHOLDS = (0.1, 0.25, 0.5)
"""Of IoU and IoBB."""
_BATCH = 16
_MAP_THRESHOLD = 0.5
"""Share of a map's maximum that makes the region."""


@dataclass(frozen=True)
class BoxScores:
    """How well maps hit boxes.

    Attributes:
        boxes: how many.
        empty: of these, maps without any evidence; the pointing game gives them what a random place would get.
        pointing: share of boxes hit by the strongest evidence, within 15 pixels of an image of 224.
        centre: the same for the middle of the image, whatever it shows.
        iou: threshold -> share of boxes above it.
        iobb: threshold -> share of boxes above it.
    """

    boxes: int
    empty: int
    pointing: MetricValue
    centre: MetricValue
    iou: dict[float, MetricValue]
    iobb: dict[float, MetricValue]


def score_boxes(
    classifier: Classifier, prepared: Prepared, boxes: pd.DataFrame, explainer: str
) -> dict[str, BoxScores]:
    """Explain every test image with a box and score the maps.

    Args:
        classifier: trained on the official split.
        prepared: cohort and images.
        boxes: from `load_boxes`; those whose image is not in the test part are left out.
        explainer: registered name.

    Returns:
        `all` and each label with boxes -> scores; empty where no box is left.
    """
    table = prepared.cohort.table
    names = table["image"].str.rsplit("/", n=1).str[-1]
    row_of = dict(zip(names[prepared.in_split("test")], np.flatnonzero(prepared.in_split("test")), strict=True))
    kept = boxes[boxes["image"].isin(row_of.keys())].reset_index(drop=True)
    if kept.empty:
        return {}
    rows = kept["image"].map(row_of).to_numpy()
    columns = kept["label"].map(prepared.cohort.labels.index).to_numpy()
    maps = _maps(classifier, prepared, rows, columns, explainer)
    references = np.stack([_reference(box, maps.shape[1:]) for _, box in kept.iterrows()])
    patients = table["patient_id"].iloc[rows].astype(str).to_numpy()
    chosen = {"all": np.ones(len(kept), dtype=bool)}
    chosen |= {label: (kept["label"] == label).to_numpy() for label in sorted(kept["label"].unique())}
    return {name: _scores(maps[use], references[use], patients[use]) for name, use in chosen.items()}


def _maps(
    classifier: Classifier,
    prepared: Prepared,
    rows: Int[np.ndarray, " K"],
    columns: Int[np.ndarray, " K"],
    explainer: str,
) -> Float[np.ndarray, "K H W"]:
    built = build_explainer(explainer)
    device = next(classifier.parameters()).device
    parts: list[Float[np.ndarray, "B H W"]] = []
    for start in range(0, len(rows), _BATCH):
        chunk = slice(start, start + _BATCH)
        images = np.stack([prepared.store[int(prepared.rows[row])] for row in rows[chunk]])
        maps = built.explain(classifier, torch.from_numpy(images).to(device))
        wanted = torch.from_numpy(columns[chunk]).to(device)
        parts.append(maps[torch.arange(len(wanted)), wanted].float().cpu().numpy())
    return np.concatenate(parts)


def _reference(box: pd.Series, space: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
    """The box on the prepared grid; published images are square, so the recipe only scales them."""
    scale = np.asarray(space) / GRID_PX
    start = np.array([box["y_px"], box["x_px"]]) * scale
    size = np.array([box["height_px"], box["width_px"]]) * scale
    return box_region(space, tuple(start), tuple(size))


def _scores(maps: Float[np.ndarray, "K H W"], references: Bool[np.ndarray, "K H W"], patients: PerSample) -> BoxScores:
    owner = patient_index(patients)[0]
    centre = np.broadcast_to(centre_map(maps.shape[1:]), maps.shape)
    pairs = zip(maps, references, strict=True)
    overlaps = np.array([overlap(evidence, reference, _MAP_THRESHOLD) for evidence, reference in pairs])
    iou, iobb = (
        {threshold: proportion(values > threshold, owner) for threshold in THRESHOLDS} for values in overlaps.T
    )
    return BoxScores(
        boxes=len(maps),
        empty=int((maps.max(axis=(1, 2)) <= 0).sum()),
        pointing=localise(maps, references, patients=list(patients)).pointing,
        centre=localise(centre, references, patients=list(patients)).pointing,
        iou=iou,
        iobb=iobb,
    )
