"""Does the evidence lie where the finding is: measured against reference masks or boxes.

Sources: pointing game, Zhang et al., IJCV 2018; IoU by finding, Saporta et al., Nature Machine Intelligence 2022; IoBB,
Wang et al., CVPR 2017; energy inside, Wang et al., CVPR Workshops 2020 (Score-CAM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage
from scipy.sparse import csr_array

from resight.errors import DataError
from resight.evaluation import Statistic, bootstrap, patient_index, with_percentiles
from resight.types import MetricValue

Map = Float[np.ndarray, "*space"]
Region = Bool[np.ndarray, "*space"]

_TOLERANCE_PX = 15
_TOLERANCE_AT_PX = 224
"""The pointing game allows 15 pixels; here of an image of 224, and in proportion in others."""


@dataclass(frozen=True)
class LocalisationScores:
    """Means over images and labels with a reference, each 0 to 1.

    Attributes:
        pointing: share whose strongest evidence lies in the reference or within the tolerance; equal maxima share.
        iou: intersection over union of the region above the threshold and the reference.
        iobb: share of the box around the strongest region that lies in the reference.
        energy: share of the positive evidence that lies in the reference.
    """

    pointing: MetricValue
    iou: MetricValue
    iobb: MetricValue
    energy: MetricValue


_MEASURES = tuple(field.name for field in fields(LocalisationScores))


def localise(
    maps: Float[np.ndarray, "N *space"],
    references: Bool[np.ndarray, "N *space"],
    *,
    patients: Sequence[str] | None = None,
    threshold: float = 0.5,
    tolerance_px: float | None = None,
    seed: int = 0,
) -> LocalisationScores:
    """Score maps against references on the same grid.

    Args:
        maps: one map for each image and label that is asked about, finite.
        references: where the finding is.
        patients: patient of each map; each map its own patient when not given.
        threshold: share of a map's maximum from which a pixel belongs to the region.
        tolerance_px: of the pointing game; 15 pixels at a shortest side of 224 when not given.
        seed: of the bootstrap by patient that gives the intervals.

    Returns:
        The means. A map without positive evidence has no region and no energy and is counted as a miss; an empty or
        missing reference is left out of `n`.

    Raises:
        DataError: maps and references differ in shape.
    """
    if maps.shape != references.shape:
        found = f"maps {maps.shape}, references {references.shape}"
        raise DataError(found, where="localisation", expected="the same grid")
    tolerance = _TOLERANCE_PX * min(maps.shape[1:]) / _TOLERANCE_AT_PX if tolerance_px is None else tolerance_px
    asked = references.any(axis=tuple(range(1, references.ndim)))
    if not asked.any():
        return LocalisationScores(*[MetricValue.undefined("no reference")] * len(_MEASURES))
    rows = [
        (
            _pointing(evidence, reference, tolerance),
            *overlap(evidence, reference, threshold),
            _energy(evidence, reference),
        )
        for evidence, reference in zip(maps[asked], references[asked], strict=True)
    ]
    owners = np.arange(len(maps)) if patients is None else np.asarray(patients)
    return LocalisationScores(
        **means_by_patient(np.asarray(rows, dtype=np.float64), _MEASURES, owners[asked], seed=seed)
    )


def centre_map(space: tuple[int, ...]) -> Map:
    """The map of somebody who never looks: a bump in the middle, a quarter of each side wide. A baseline to beat."""
    axes = np.meshgrid(*[(np.arange(side) - (side - 1) / 2) / (side / 4) for side in space], indexing="ij")
    return np.exp(-0.5 * sum(axis**2 for axis in axes)).astype(np.float32)


def box_mask(space: tuple[int, ...], start_px: tuple[float, ...], size_px: tuple[float, ...]) -> Region:
    """A box as a mask: the pixels whose centre lies in it.

    Args:
        space: shape of the image.
        start_px: corner of the box nearest the first pixel, in array order (y, x), pixel edges at whole numbers.
        size_px: its sides, in the same order.
    """
    mask = np.ones(space, dtype=bool)
    for axis, (side, start, size) in enumerate(zip(space, start_px, size_px, strict=True)):
        centres = np.arange(side) + 0.5
        inside = (centres >= start) & (centres < start + size)
        mask &= inside.reshape([-1 if i == axis else 1 for i in range(len(space))])
    return mask


def box_region(space: tuple[int, ...], start_px: tuple[float, ...], size_px: tuple[float, ...]) -> Region:
    """A box as a mask that holds its middle pixel at least: it may be smaller than a pixel of a reduced image.

    Arguments as `box_mask`.
    """
    mask = box_mask(space, start_px, size_px)
    middle = np.floor(np.add(start_px, np.divide(size_px, 2))).clip(0, np.asarray(space) - 1).astype(int)
    mask[tuple(middle)] = True
    return mask


def overlap(evidence: Map, reference: Region, threshold: float) -> tuple[float, float]:
    """IoU and IoBB of one map.

    Args:
        evidence: the map.
        reference: where the finding is, not empty.
        threshold: share of the map's maximum from which a pixel belongs to the region.

    Returns:
        Intersection over union of region and reference; and the share of the box around the strongest connected part of
        the region that lies in the reference. Both 0 for a map without positive evidence.
    """
    top = evidence.max()
    if not top > 0:
        return 0.0, 0.0
    region = evidence >= threshold * top
    iou = (region & reference).sum() / (region | reference).sum()
    parts = np.empty(region.shape, np.int32)
    ndimage.label(region, output=parts)
    box = ndimage.find_objects(parts)[parts.flat[evidence.argmax()] - 1]
    return float(iou), float(reference[box].mean())


def _pointing(evidence: Map, reference: Region, tolerance_px: float) -> float:
    distance = np.asarray(ndimage.distance_transform_edt(~reference))
    return float((distance[evidence == evidence.max()] <= tolerance_px).mean())


def _energy(evidence: Map, reference: Region) -> float:
    positive = evidence.clip(min=0)
    total = positive.sum(dtype=np.float64)
    return float(positive[reference].sum(dtype=np.float64) / total) if total > 0 else 0.0


def means_by_patient(
    rows: Float[np.ndarray, "N K"], names: Sequence[str], patients: Shaped[np.ndarray, " N"], *, seed: int = 0
) -> dict[str, MetricValue]:
    """Mean of every column with the interval of a bootstrap by patient.

    Args:
        rows: one a map, finite.
        names: of the columns.
        patients: whose map each row is.
        seed: of the bootstrap.
    """
    index, count = patient_index(patients)
    sums = csr_array(np.vstack([rows.T, np.ones(len(rows))]))
    statistic = Statistic(sums, lambda s: {name: s[i] / s[-1] for i, name in enumerate(names)})
    (replicates,) = bootstrap([statistic.by_patient(index, count)], count, replicates=1000, seed=seed)
    return {
        name: with_percentiles(MetricValue(value, n=len(rows)), replicates[name], 0.95)
        for name, value in statistic.estimate().items()
    }
