"""Who is in the phantom cohort, what they have, and what is wrong with the study.

Every number depends on the seed and on what it belongs to (image, patient, finding), never on the order of drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from resight.cohorts.phantom_body import Sex, View
from resight.cohorts.phantom_findings import Finding
from resight.settings import Options

FINDINGS: tuple[Finding, ...] = get_args(Finding)
"""The 14 labels of ChestX-ray14 in their usual order."""
CHESTXRAY14_PREVALENCE: Mapping[Finding, float] = {
    "Atelectasis": 0.1031,
    "Cardiomegaly": 0.0248,
    "Effusion": 0.1188,
    "Infiltration": 0.1774,
    "Mass": 0.0516,
    "Nodule": 0.0565,
    "Pneumonia": 0.0128,
    "Pneumothorax": 0.0473,
    "Consolidation": 0.0416,
    "Edema": 0.0205,
    "Emphysema": 0.0224,
    "Fibrosis": 0.0150,
    "Pleural_Thickening": 0.0302,
    "Hernia": 0.0020,
}
"""Share of the 112,120 images of ChestX-ray14 that carry each label."""
NO_FINDING = "No Finding"
_PERSISTENCE = 0.8  # share of a patient's images that show what the patient has
_GOLDEN = 0.6180339887498949  # steps of the golden ratio keep the shares of the splits right in small cohorts too

Share = Annotated[float, Field(ge=0, le=1)]


class Shortcut(Options):
    """A bright plate in the corner that goes along with a label."""

    label: Finding = Field(description="the finding it goes along with")
    strength: Share = Field(
        default=0.9, description="how much likelier it is with the label than without: 0 unrelated, 1 always"
    )
    test_strength: float | None = Field(
        default=None, ge=-1, le=1, description="the same in the test split, when different"
    )


class GroupBias(Options):
    """One group whose findings are fainter, rarer, or missing from its labels."""

    attribute: Literal["sex", "view", "site"] = Field(default="sex", description="what tells the groups apart")
    value: str = Field(default="F", description="the disadvantaged group")
    visibility: Share = Field(default=1.0, description="factor on the contrast of this group's findings")
    underdiagnosis: Share = Field(default=0.0, description="share of this group's findings that its labels leave out")
    prevalence: float = Field(default=1.0, ge=0, description="factor on how often this group has findings")


class BrokenScanner(Options):
    """A site whose scanner turns, inverts or slowly overexposes its images."""

    site: str = Field(default="A", description="which site")
    fault: Literal["rotated", "inverted", "drift"] = Field(default="rotated", description="what is wrong with it")
    share: Share = Field(default=1.0, description="share of the site's images")


class PhantomOptions(Options):
    """Drawn chest X-rays with known findings."""

    images: int = Field(default=1000, gt=0, description="how many images")
    size_px: int = Field(default=128, ge=32, le=2048, description="height and width")
    seed: int = Field(default=0, ge=0, description="another seed, another cohort")
    findings: tuple[Finding, ...] = Field(default=FINDINGS, min_length=1, description="the labels, in order")
    task: Literal["multilabel", "multiclass"] = Field(
        default="multilabel",
        description="any number of findings, or exactly one class of `No Finding` and the findings",
    )
    prevalence: Share | Literal["chestxray14"] = Field(default=0.15, description="share of images with each finding")
    images_per_patient: int = Field(default=3, gt=0, description="on average; between 1 and twice as many less one")
    portable: Share = Field(default=0.35, description="share of AP exposures")
    sites: int = Field(default=3, gt=0, le=26, description="number of hospitals, named A, B, ...")
    splits: tuple[Share, Share, Share] = Field(
        default=(0.7, 0.1, 0.2), description="train, validation, test, by patient"
    )
    difficulty: Share = Field(default=0.3, description="0 plain, 1 barely above the noise")
    label_noise: Share = Field(default=0.0, description="share of labels that are flipped")
    shortcut: Shortcut | None = Field(default=None, description="plant a marker that goes along with a label")
    bias: GroupBias | None = Field(default=None, description="plant a disadvantage of one group")
    broken: BrokenScanner | None = Field(default=None, description="plant a broken scanner")
    patient_leak: Share = Field(default=0.0, description="share of patients whose images are spread over the splits")
    duplicate_leak: Share = Field(
        default=0.0, description="share of validation and test images that are training images of another patient id"
    )
    masks: bool = Field(default=False, description="write where each finding is")

    @model_validator(mode="after")
    def _consistent(self) -> PhantomOptions:
        if len(set(self.findings)) < len(self.findings):
            raise ValueError("findings that differ")
        if self.shortcut and self.shortcut.label not in self.findings:
            raise ValueError("a shortcut for one of the findings")
        if abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError("splits that add up to 1")
        sites = [chr(ord("A") + number) for number in range(self.sites)]
        if self.broken and self.broken.site not in sites:
            raise ValueError(f"a broken scanner at one of the sites {', '.join(sites)}")
        groups = {"sex": get_args(Sex), "view": get_args(View), "site": sites}
        if self.bias and self.bias.value not in groups[self.bias.attribute]:
            raise ValueError(f"a bias of one of the groups {', '.join(groups[self.bias.attribute])}")
        if self.task == "multiclass" and sum(self.chance_of(f) for f in self.findings) > 1:
            raise ValueError("prevalences that add up to 1 at most, as the classes exclude each other")
        return self

    def chance_of(self, finding: Finding) -> float:
        """Share of images with a finding."""
        return CHESTXRAY14_PREVALENCE[finding] if self.prevalence == "chestxray14" else float(self.prevalence)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label columns of the cohort."""
        return (NO_FINDING, *self.findings) if self.task == "multiclass" else self.findings


@dataclass(frozen=True)
class Patient:
    """One patient; `split` is that of one image where the patient leaks."""

    number: int
    age: int
    sex: Sex
    site: str
    split: str


@dataclass(frozen=True)
class Case:
    """Everything about one image but its pixels.

    Attributes:
        index: which image of the cohort.
        source: the image whose picture it shows: another one where a duplicate was planted.
        filed_as: the patient it is filed under.
        patient: the patient it shows.
        view: projection.
        findings: what the picture shows.
        marker: whether it carries the shortcut's marker.
        broken: whether the broken scanner spoilt it.
    """

    index: int
    source: int
    filed_as: Patient
    patient: Patient
    view: View
    findings: tuple[Finding, ...]
    marker: bool
    broken: bool


Purpose = Literal[
    "block", "patient", "leak", "duplicate", "view", "disease", "shown", "marker", "broken", "labels",
    "body", "pose", "finding", "scanner", "exposure", "rescan",
]  # fmt: skip


def stream(options: PhantomOptions, purpose: Purpose, *numbers: int) -> np.random.Generator:
    """A generator of its own for every purpose and number."""
    return np.random.default_rng((options.seed, get_args(Purpose).index(purpose), *numbers))


def describe_case(options: PhantomOptions, index: int) -> Case:
    """Draw what one image shows and whom it is filed under."""
    filed_as = _patient(options, index)
    source = _source(options, index, filed_as)
    patient = _patient(options, source)
    view: View = "AP" if stream(options, "view", source).random() < options.portable else "PA"
    findings = _findings(options, patient, source, view)
    marker = options.shortcut is not None and _has_marker(options, options.shortcut, source, patient, findings)
    share = options.broken.share if options.broken and options.broken.site == patient.site else 0.0
    broken = bool(stream(options, "broken", source).random() < share)
    return Case(index, source, filed_as, patient, view, findings, marker, broken)


def visibility(options: PhantomOptions, case: Case) -> float:
    """How plain the findings of an image are, 0 to 1."""
    factor = options.bias.visibility if options.bias and _disadvantaged(options.bias, case.patient, case.view) else 1.0
    return factor * (1.0 - 0.8 * options.difficulty)


def cohort_row(options: PhantomOptions, case: Case) -> dict[str, Any]:
    """The row a hospital would hand over, with what is wrong in it."""
    return {
        "image": f"images/{case.index:06d}.png",
        "patient_id": f"P{case.filed_as.number:05d}",
        "split": case.filed_as.split,
        **dict(zip(options.labels, _recorded(options, case), strict=True)),
        "age": case.patient.age,
        "sex": case.patient.sex,
        "view": case.view,
        "site": case.patient.site,
    }


def truth_row(options: PhantomOptions, case: Case) -> dict[str, Any]:
    """What was planted."""
    return {
        "image": f"images/{case.index:06d}.png",
        **dict(zip(options.labels, _present(options, case), strict=True)),
        "marker": int(case.marker),
        "broken": int(case.broken),
        "duplicate_of": f"images/{case.source:06d}.png" if case.source != case.index else "",
    }


def _patient_number(options: PhantomOptions, index: int) -> int:
    """Two patients share every block of `2 * images_per_patient` images, cut at a random place."""
    block, place = divmod(index, 2 * options.images_per_patient)
    cut = stream(options, "block", block).integers(1, 2 * options.images_per_patient)
    return 2 * block + int(place >= cut)


def _patient(options: PhantomOptions, index: int) -> Patient:
    number = _patient_number(options, index)
    rng = stream(options, "patient", number)
    age = int(np.clip(rng.normal(52, 17), 18, 92))
    sex: Sex = "F" if rng.random() < 0.45 else "M"
    site = chr(ord("A") + int(rng.integers(options.sites)))
    leaks = options.patient_leak > 0 and stream(options, "leak", number).random() < options.patient_leak
    place = stream(options, "leak", number, index).random() if leaks else (options.seed + number) * _GOLDEN % 1.0
    train, validation, _ = options.splits
    split = "train" if place < train else "validation" if place < train + validation else "test"
    return Patient(number, age, sex, site, split)


def _source(options: PhantomOptions, index: int, filed_as: Patient) -> int:
    if not options.duplicate_leak or filed_as.split == "train":
        return index
    rng = stream(options, "duplicate", index)
    if rng.random() >= options.duplicate_leak:
        return index
    candidates = (int(c) for c in rng.integers(options.images, size=64))
    return next((c for c in candidates if _patient(options, c).split == "train"), index)


def _disadvantaged(bias: GroupBias, patient: Patient, view: View) -> bool:
    return bias.value == {"sex": patient.sex, "site": patient.site, "view": view}[bias.attribute]


def _findings(options: PhantomOptions, patient: Patient, index: int, view: View) -> tuple[Finding, ...]:
    """What the patient has, and which of it this image shows."""
    rarer = options.bias.prevalence if options.bias and _disadvantaged(options.bias, patient, view) else 1.0
    has = stream(options, "disease", patient.number).random(len(FINDINGS))
    if options.task == "multiclass":
        chances = np.cumsum([min(options.chance_of(f) * rarer, 1.0) for f in options.findings])
        chosen = int(np.searchsorted(chances, has[0], side="right"))
        return options.findings[chosen : chosen + 1]
    chance = np.minimum([options.chance_of(f) * rarer for f in FINDINGS], 1.0)
    kept = np.maximum(chance, _PERSISTENCE)
    shown = (has < chance / kept) & (stream(options, "shown", index).random(len(FINDINGS)) < kept)
    return tuple(f for f in options.findings if shown[FINDINGS.index(f)])


def _has_marker(
    options: PhantomOptions, shortcut: Shortcut, index: int, patient: Patient, findings: tuple[Finding, ...]
) -> bool:
    strength = shortcut.strength
    if patient.split == "test" and shortcut.test_strength is not None:
        strength = shortcut.test_strength
    chance = 0.5 + (0.5 if shortcut.label in findings else -0.5) * strength
    return bool(stream(options, "marker", index).random() < chance)


def _present(options: PhantomOptions, case: Case) -> list[int]:
    return [int(name in case.findings or (name == NO_FINDING and not case.findings)) for name in options.labels]


def _recorded(options: PhantomOptions, case: Case) -> list[int]:
    """Labels as somebody wrote them down: missed in the disadvantaged group, wrong at random."""
    rng, count = stream(options, "labels", case.index), len(options.labels)
    values = np.array(_present(options, case))
    missed, wrong, other = rng.random(count), rng.random(count), rng.integers(1, count) if count > 1 else 0
    if options.bias and _disadvantaged(options.bias, case.patient, case.view):
        values = np.where(missed < options.bias.underdiagnosis, 0, values)
    if options.task == "multilabel":
        return np.where(wrong < options.label_noise, 1 - values, values).tolist()
    chosen = int(values.argmax())  # nothing left is `No Finding`, the first class
    if wrong[0] < options.label_noise:
        chosen = (chosen + int(other)) % count
    return np.eye(count, dtype=int)[chosen].tolist()
