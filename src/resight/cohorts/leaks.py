"""Are training and test data independent: shared patients, duplicate images, and metadata that tell the label.

Answers the data-leakage questions of TRIPOD+AI (Collins et al. 2024, item 7) and CLAIM 2024 (item 21).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from resight.cohorts.columns import as_text, is_split_name, split_names
from resight.cohorts.duplicates import Fingerprints, clusters_of, fingerprint, near_pairs
from resight.cohorts.shortcuts import ColumnAuroc, column_aurocs
from resight.errors import LeakError
from resight.settings import Options
from resight.types import Cohort

Verdict = Literal["clean", "suspect", "leak"]
_EXAMPLES = 5
_SHOWN_COLUMNS = 8
_RESTATES = 0.99
"""AUROC from which a column is the label under another name."""


class LeakOptions(Options):
    """What the leak check looks at and what it calls suspect."""

    images: bool | None = Field(default=None, description="open the images; default: if the first of them is there")
    near: bool = Field(default=True, description="look for near-duplicates too")
    near_bits: int = Field(
        default=12, ge=0, le=32, description="of 128 hash bits, how many near-duplicates may differ in"
    )
    near_correlation: float = Field(
        default=0.98, gt=0, le=1, description="correlation of thumbnails that are alike, below 100 images"
    )
    near_residual: float = Field(
        default=0.9, gt=0, le=1, description="the same without the average image, from 100 images on"
    )
    column_auroc: float = Field(default=0.75, gt=0.5, le=1, description="a metadata column above this is suspect")
    file_auroc: float = Field(default=0.65, gt=0.5, le=1, description="a property of the file above this is suspect")
    strict: bool = Field(default=False, description="end with an error status on anything suspect")
    workers: int = Field(default=2, ge=1, description="threads that read images")


@dataclass(frozen=True)
class SharedPatients:
    """Patients that lie in more than one part: how many, with how many images, and how many in each pair of parts."""

    patients: int
    images: int
    pairs: dict[str, int]
    examples: tuple[str, ...]

    def __str__(self) -> str:
        pairs = ", ".join(f"{name} {count}" for name, count in self.pairs.items())
        return f"{self.patients} patients with {self.images} images in more than one part ({pairs})"


@dataclass(frozen=True)
class Duplicates:
    """Groups of images that are the same file, have the same pixels, or look alike."""

    kind: Literal["same file", "same pixels", "near-duplicate"]
    groups: int
    images: int
    groups_across_parts: int
    groups_with_conflicting_labels: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`leak`) or should be looked at (`suspect`)."""

    severity: Literal["leak", "suspect"]
    text: str


@dataclass(frozen=True)
class LeakReport:
    """What the leak check found.

    Attributes:
        name: of the cohort.
        images: how many rows.
        patients: how many; None when no patient is known.
        parts: images in each part of the split; empty without a split.
        shared: patients in more than one part; None when that cannot be known.
        duplicates: groups of equal or similar images; empty when images were not opened.
        columns: how well each metadata column alone tells each label, best first.
        unreadable: image -> why it could not be read.
        findings: what follows from all this.
        clusters: columns `image` and `cluster`; images that duplicate each other share a number. Write it to a file and
            give that to a split to keep them together.
        strict: whether anything suspect counts as failure.
    """

    name: str
    images: int
    patients: int | None
    parts: dict[str, int]
    shared: SharedPatients | None
    duplicates: tuple[Duplicates, ...]
    columns: tuple[ColumnAuroc, ...]
    unreadable: dict[str, str]
    findings: tuple[Finding, ...]
    clusters: pd.DataFrame
    strict: bool = False

    @property
    def verdict(self) -> Verdict:
        """`leak` if training and test share patients or images, `suspect` if they may, else `clean`."""
        found = {finding.severity for finding in self.findings}
        return "leak" if "leak" in found else "suspect" if found else "clean"

    @property
    def exit_code(self) -> int:
        """That of `LeakError` for a leak, and in strict mode for anything suspect; otherwise 0."""
        failed = self.verdict == "leak" or (self.strict and self.verdict == "suspect")
        return LeakError.exit_code if failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `clusters` holds only those of two and more images."""
        sizes = self.clusters["cluster"].map(self.clusters["cluster"].value_counts())
        shared = self.clusters[sizes > 1].groupby("cluster")["image"].agg(list)
        plain = {name: value for name, value in vars(self).items() if name not in ("clusters", "strict")}
        for name in ("duplicates", "columns", "findings"):
            plain[name] = [asdict(one) for one in plain[name]]
        plain["shared"] = asdict(self.shared) if self.shared else None
        return {**plain, "verdict": self.verdict, "exit_code": self.exit_code, "clusters": shared.tolist()}

    def __str__(self) -> str:
        patients = "no patient is known" if self.patients is None else f"{self.patients} patients"
        parts = ", ".join(f"{name} {count}" for name, count in self.parts.items()) or "no split"
        lines = [f"{self.name}: {self.images} images, {patients}, {parts}. Verdict: {self.verdict}."]
        lines += [f"  {finding.severity.upper():7} {finding.text}" for finding in self.findings]
        for one in self.duplicates:
            lines.append(
                f"  {one.kind}: {one.images} images in {one.groups} groups, {one.groups_across_parts} across parts, "
                f"{one.groups_with_conflicting_labels} with conflicting labels"
            )
        if self.columns:
            unit = "group of duplicates" if self.patients is None else "patient"
            lines.append(f"  What metadata alone tell (AUROC, 95 % interval by {unit}):")
            lines += [f"    {c.column} -> {c.label}: {c.auroc}" for c in self.columns[:_SHOWN_COLUMNS]]
        return "\n".join(lines)


def leakcheck(
    cohort: Cohort, options: LeakOptions | None = None, *, progress: Callable[[int, int], None] | None = None
) -> LeakReport:
    """Look for everything that makes training and test data depend on each other.

    Args:
        cohort: with `split` to judge a split, with `patient_id` to find shared patients.
        options: what to look at.
        progress: called with images read and their total.
    """
    options = options or LeakOptions()
    table = cohort.table
    split = table["split"].to_numpy(dtype=object) if "split" in table else None
    patients = as_text(table["patient_id"]).to_numpy(dtype=object) if "patient_id" in table else None
    opened = options.images
    if opened is None:
        opened = len(cohort) > 0 and (cohort.root / str(table["image"].iloc[0])).exists()
    seen = fingerprint(cohort.paths, workers=options.workers, progress=progress) if opened else None
    cluster, duplicates = _duplicates(cohort, seen, options, split)
    shared = _shared_patients(split, patients) if split is not None and patients is not None else None
    metadata = table[list(cohort.attributes)]
    if seen is not None:
        metadata = pd.concat([metadata, seen.facts.set_axis(table.index).add_prefix("file ")], axis=1)
    columns = column_aurocs(metadata, cohort.targets(), cohort.labels, _independent_units(patients, cluster))
    return LeakReport(
        name=cohort.name,
        images=len(cohort),
        patients=None if patients is None else len(set(patients) - {""}),
        parts={} if split is None else {str(k): int(v) for k, v in table["split"].value_counts().items()},
        shared=shared,
        duplicates=duplicates,
        columns=tuple(columns),
        unreadable={} if seen is None else {str(table["image"].iloc[row]): why for row, why in seen.errors.items()},
        findings=(
            *_patient_findings(cohort, shared, patients),
            *_duplicate_findings(duplicates),
            *_column_findings(columns, options),
        ),
        clusters=pd.DataFrame({"image": table["image"].to_numpy(), "cluster": cluster}),
        strict=options.strict,
    )


def _independent_units(patients: np.ndarray | None, cluster: np.ndarray) -> np.ndarray:
    """What intervals resample: the patient, or the cluster of duplicates where the patient is not known."""
    if patients is None:
        return cluster
    named = np.where(patients == "", np.array([f"\0{c}" for c in cluster], dtype=object), patients)
    return pd.factorize(named, sort=True)[0]


def _shared_patients(split: np.ndarray, patients: np.ndarray) -> SharedPatients:
    known = patients != ""
    places = pd.DataFrame({"patient": patients[known], "part": split[known]})
    distinct = places.drop_duplicates().sort_values(["patient", "part"])
    several = distinct[distinct.duplicated("patient", keep=False)].groupby("patient")["part"].agg(list)
    pairs = Counter(" and ".join(pair) for names in several for pair in combinations(names, 2))
    images = int(places["patient"].isin(several.index).sum())
    return SharedPatients(len(several), images, dict(pairs), tuple(map(str, several.index[:_EXAMPLES])))


def _duplicates(
    cohort: Cohort, seen: Fingerprints | None, options: LeakOptions, split: np.ndarray | None
) -> tuple[np.ndarray, tuple[Duplicates, ...]]:
    count = len(cohort)
    nothing = np.empty((0, 2), dtype=np.int64)
    if seen is None:
        return np.arange(count), ()
    pairs = nothing
    if options.near:
        pairs = near_pairs(
            seen.thumbnails, bits=options.near_bits, same=options.near_correlation, residual=options.near_residual
        )
    cluster = clusters_of(count, pairs, [seen.files, seen.pixels])
    kinds: list[tuple[Any, np.ndarray]] = [
        ("same file", clusters_of(count, nothing, [seen.files])),
        ("same pixels", clusters_of(count, nothing, [seen.pixels])),
    ]
    if options.near:
        kinds.append(("near-duplicate", cluster))
    return cluster, tuple(_summary(kind, codes, cohort, split) for kind, codes in kinds)


def _summary(
    kind: Literal["same file", "same pixels", "near-duplicate"],
    codes: np.ndarray,
    cohort: Cohort,
    split: np.ndarray | None,
) -> Duplicates:
    groups = pd.Series(codes).groupby(codes)
    members = [rows.index.to_numpy() for _, rows in groups if len(rows) > 1]
    targets = cohort.targets()
    across = sum(len(set(split[rows])) > 1 for rows in members) if split is not None else 0
    images = cohort.table["image"].to_numpy(dtype=object)
    return Duplicates(
        kind=kind,
        groups=len(members),
        images=sum(map(len, members)),
        groups_across_parts=across,
        groups_with_conflicting_labels=sum(_conflict(targets[rows]) for rows in members),
        examples=tuple(tuple(map(str, images[rows])) for rows in members[:_EXAMPLES]),
    )


def _conflict(targets: np.ndarray) -> bool:
    """Whether a label is known to be both positive and negative within one group."""
    return bool(((targets >= 0.5).any(axis=0) & (targets < 0.5).any(axis=0)).any())


def _patient_findings(cohort: Cohort, shared: SharedPatients | None, patients: np.ndarray | None) -> list[Finding]:
    if patients is None:
        return [Finding("suspect", "No patient is known, so nobody can tell whether parts share patients.")]
    found = [Finding("leak", f"{shared}.")] if shared and shared.patients else []
    if blank := int((patients == "").sum()):
        found.append(Finding("suspect", f"{blank} images have no patient id."))
    for name in cohort.attributes:
        words = cohort.table[name].drop_duplicates()
        if len(words) > 1 and words.map(lambda word: isinstance(word, str) and is_split_name(word)).all():
            other = _shared_patients(split_names(cohort.table[name], name).to_numpy(dtype=object), patients)
            if other.patients:
                found.append(Finding("suspect", f"The column {name!r} looks like a split and has {other}."))
    return found


def _duplicate_findings(duplicates: tuple[Duplicates, ...]) -> list[Finding]:
    found = []
    for one in duplicates:
        exact = one.kind != "near-duplicate"
        if one.groups_across_parts:
            text = f"{one.groups_across_parts} groups of images ({one.kind}) lie in more than one part."
            found.append(Finding("leak" if exact else "suspect", text))
        if exact and one.groups_with_conflicting_labels:
            text = f"{one.groups_with_conflicting_labels} groups of images ({one.kind}) have conflicting labels."
            found.append(Finding("suspect", text))
    return found


def _column_findings(columns: list[ColumnAuroc], options: LeakOptions) -> list[Finding]:
    """One finding per column, about the label it tells best."""
    suspects: dict[str, list[ColumnAuroc]] = {}
    for one in columns:
        if one.auroc.low >= (options.file_auroc if one.from_file else options.column_auroc):
            suspects.setdefault(one.column, []).append(one)
    found = []
    for name, (best, *others) in suspects.items():
        if best.auroc.value >= _RESTATES:
            meaning = "it restates the label; never use it as an input"
        elif best.from_file:
            meaning = "a network can learn the file instead of the finding"
        else:
            meaning = "compare every model with it"
        more = f" and {len(others)} more labels" if others else ""
        found.append(Finding("suspect", f"{name} alone tells {best.label} (AUROC {best.auroc}){more}: {meaning}."))
    return found
