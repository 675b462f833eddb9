"""What is in a cohort: counts, prevalence, sizes, modalities, patients and attributes, part by part."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resight.cohorts.columns import as_text
from resight.errors import ImageError
from resight.imaging import describe
from resight.types import Cohort

_SHOWN = 5
_MANY_VALUES = 20
"""A text attribute with more values than this is counted, not listed."""


@dataclass(frozen=True)
class LabelCount:
    """How often one label is positive, negative, and not known; prevalence among the known, NaN without any."""

    label: str
    positives: int
    negatives: int
    masked: int
    prevalence: float


@dataclass(frozen=True)
class PartSummary:
    """Counts of the whole cohort or of one part of its split; `patients` is None when no patient is known."""

    images: int
    patients: int | None
    labels: tuple[LabelCount, ...]


@dataclass(frozen=True)
class CohortSummary:
    """What is in a cohort.

    Attributes:
        name: of the cohort.
        task: kind of classification.
        whole: counts over all images.
        parts: the same for each part of the split.
        most_images_of_a_patient: NaN when no patient is known.
        attributes: attribute -> what its values are, in words.
        files: property of the files (`size`, `colour_mode`, `modality`, ...) -> value -> how many images.
        bytes: of all images that were found.
        missing: images that are listed and not there.
        unreadable: image -> why its header cannot be read.
        notes: those of the cohort.
    """

    name: str
    task: str
    whole: PartSummary
    parts: dict[str, PartSummary]
    most_images_of_a_patient: float
    attributes: dict[str, str]
    files: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    bytes: int = 0
    missing: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        patients = "no patient is known" if self.whole.patients is None else f"{self.whole.patients} patients"
        lines = [f"{self.name}: {self.whole.images} images, {patients}, {self.task}."]
        lines += [f"  {name}: {part.images} images" for name, part in self.parts.items()]
        for one in self.whole.labels:
            share = "not known" if math.isnan(one.prevalence) else f"{one.prevalence:.1%}"
            lines.append(
                f"  {one.label}: {one.positives} positive, {one.negatives} negative, {one.masked} masked ({share})"
            )
        lines += [f"  {name}: {text}" for name, text in self.attributes.items()]
        lines += [f"  {name}: {most_common(counts)}" for name, counts in self.files.items()]
        if self.missing:
            lines.append(f"  {len(self.missing)} images are not there: {', '.join(self.missing[:_SHOWN])}")
        lines += [f"  cannot be read: {image} ({why})" for image, why in list(self.unreadable.items())[:_SHOWN]]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def inspect_cohort(cohort: Cohort, *, files: bool = True, workers: int = 2) -> CohortSummary:
    """Count what is in a cohort.

    Args:
        cohort: with or without a split.
        files: look at the header of every image too; no pixels are decoded.
        workers: threads that read headers.
    """
    table = cohort.table
    parts = {str(name): _part(cohort.part(str(name))) for name in table["split"].unique()} if "split" in table else {}
    per_patient = table["patient_id"].value_counts() if "patient_id" in table else pd.Series(dtype=float)
    attributes = {name: _in_words(table[name]) for name in cohort.attributes}
    summary = CohortSummary(
        cohort.name, cohort.task, _part(cohort), parts, float(per_patient.max()), attributes, notes=cohort.notes
    )
    return _with_files(summary, cohort, workers) if files else summary


def most_common(counts: dict[str, int]) -> str:
    """`512x512 (90), 256x256 (10) and 3 more`."""
    shown = ", ".join(f"{value} ({count})" for value, count in list(counts.items())[:_SHOWN])
    return shown + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def _part(cohort: Cohort) -> PartSummary:
    targets = cohort.targets()
    labels: list[LabelCount] = []
    for label, column in zip(cohort.labels, targets.T, strict=True):
        positives, negatives = int((column >= 0.5).sum()), int((column < 0.5).sum())
        known = positives + negatives
        prevalence = positives / known if known else math.nan
        labels.append(LabelCount(label, positives, negatives, len(column) - known, prevalence))
    patients = None
    if "patient_id" in cohort.table:
        patients = len(set(as_text(cohort.table["patient_id"])) - {""})
    return PartSummary(len(cohort), patients, tuple(labels))


def _in_words(values: pd.Series[Any]) -> str:
    missing = int(values.isna().sum())
    lacking = f", {missing} missing" if missing else ""
    known = values.dropna()
    if known.empty:
        return "no values"
    if pd.api.types.is_numeric_dtype(known.dtype) and known.nunique() > 2:
        low, middle, high = np.percentile(known.to_numpy(dtype=float), [0, 50, 100])
        return f"{low:g} to {high:g}, median {middle:g}{lacking}"
    counts = as_text(known).value_counts()
    if len(counts) > _MANY_VALUES:
        return f"{len(counts)} different values{lacking}"
    return most_common({str(k): int(v) for k, v in counts.items()}) + lacking


def _with_files(summary: CohortSummary, cohort: Cohort, workers: int) -> CohortSummary:
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(_facts, cohort.paths))
    names = cohort.table["image"].tolist()
    facts = pd.DataFrame([one for one in found if isinstance(one, dict)])
    counted: dict[str, dict[str, int]] = {}
    if len(facts):
        facts["size"] = as_text(facts["width"]) + "x" + as_text(facts["height"])
        for column in ("size", "frames", "modality", "colour_mode", "encoding", "bits"):
            if column in facts:
                counted[column] = {str(k): int(v) for k, v in as_text(facts[column]).value_counts().items()}
    return replace(
        summary,
        files=counted,
        bytes=int(facts["bytes"].sum()) if len(facts) else 0,
        missing=tuple(name for name, one in zip(names, found, strict=True) if one is None),
        unreadable={name: one for name, one in zip(names, found, strict=True) if isinstance(one, str)},
    )


def _facts(path: Path) -> dict[str, str | float | int] | str | None:
    """Header facts, or why there are none; None when there is no such file."""
    if not path.exists():
        return None
    try:
        return describe(path)
    except ImageError as error:
        return str(error)
