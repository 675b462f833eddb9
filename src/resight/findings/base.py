"""What the writers of DICOM objects are told: one study, its images, and what one version of a model found in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from resight.explain import PlacedEvidence
from resight.findings.codes import Code

ObjectKind = Literal["sr", "sc", "gsps", "pm"]
MANUFACTURER: Final = "Resight"
RESEARCH_ONLY: Final = "For research use only. Not for diagnosis."
_PERSONS: Final = ("PatientName", "ReferringPhysicianName")
_LISTS: Final = ("ImageOrientationPatient", "ImagePositionPatient", "ImagerPixelSpacing", "PixelSpacing")
_WHOLE: Final = ("Columns", "InstanceNumber", "NumberOfFrames", "Rows", "SamplesPerPixel", "SeriesNumber")


@dataclass(frozen=True)
class ModelIdentity:
    """The version of a model that answered.

    Attributes:
        name: of the model, as its users know it.
        version: hash of its manifest, which holds those of all its files.
        software: version of Resight.
        intended_use: from the manifest.
        clearance: under what it may be used on patients; research use only where empty.
        codes: code of a label that the table of Resight does not hold or should not use.
    """

    name: str
    version: str
    software: str
    intended_use: str = ""
    clearance: str = ""
    codes: Mapping[str, Code] = field(default_factory=dict[str, Code])


@dataclass(frozen=True)
class Finding:
    """One label of one image.

    Attributes:
        label: name of the label.
        probability: calibrated, or the score where the model is not calibrated.
        threshold: of the operating point; None where the model has none.
        decision: 1 at or above the threshold, else 0; None without an operating point.
    """

    label: str
    probability: float
    threshold: float | None = None
    decision: int | None = None


@dataclass(frozen=True, eq=False)
class FoundVolume:
    """A volume in the order its slices were stored in, and where the model saw its labels.

    Attributes:
        pixels: as it was read, 8 bits or shares of full scale.
        evidence: on the same voxels.
        spacing_mm: of slices, rows and columns; NaN where not known.
        affine: matrix from an index `(slice, row, column, 1)` to millimetres in the patient; None without a place.
        frames: of a volume in one object, the number of the frame that each slice is; empty where they go on in order.
    """

    pixels: Shaped[np.ndarray, "C D H W"]
    evidence: PlacedEvidence
    spacing_mm: tuple[float, ...]
    affine: Float[np.ndarray, "4 4"] | None = None
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class FoundImage:
    """One image and what was found in it.

    Attributes:
        sources: header of the instance, or of every slice of a series; see `source_dataset`.
        findings: one for each label.
        alerts: what the sentinels noticed.
        picture: the image in grey or colour as it was read; empty without pictures.
        maps: evidence by label on the picture's grid.
        turned: the picture is not as the pixels are stored, so the maps do not lie on them.
        volume: for a series that was read as a whole, instead of picture and maps.
    """

    sources: tuple[Dataset, ...]
    findings: tuple[Finding, ...]
    alerts: tuple[str, ...] = ()
    picture: UInt8[np.ndarray, "C H W"] | None = None
    maps: Mapping[str, Float[np.ndarray, "H W"]] = field(default_factory=dict[str, Float[np.ndarray, "H W"]])
    turned: bool = False
    volume: FoundVolume | None = None

    @property
    def most_urgent(self) -> Finding | None:
        """The finding that is furthest above its threshold; its evidence is what pictures show."""
        return max(self.findings, key=urgency, default=None)


@dataclass(frozen=True)
class FoundStudy:
    """All that one version of a model found in one study.

    Attributes:
        key: stands for study, images and model; the UIDs of all objects are derived from it, so that writing them
            again gives the same objects.
        model: what answered.
        images: what was looked at.
        operating_point: name of the operating point of all decisions; None where the model has none.
        calibrated: whether the probabilities are calibrated.
        site: institution.
        supersedes: key of the result before this one, where that had a report; None for a first result.
    """

    key: str
    model: ModelIdentity
    images: tuple[FoundImage, ...]
    operating_point: str | None
    calibrated: bool
    site: str = ""
    supersedes: str | None = None

    @property
    def use(self) -> str:
        """What the results may be used for."""
        return self.model.clearance or RESEARCH_ONLY


def urgency(finding: Finding) -> float:
    """How far a finding is above its threshold, or above 0 where there is none."""
    return finding.probability - (finding.threshold or 0.0)


def derived_uid(*parts: str) -> str:
    """A UID that is the same for the same parts (PS3.5 B.2: 2.25 and a number of at most 128 bits)."""
    number = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:16], "big")
    return f"2.25.{number}"


def along_slices(sources: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
    """The headers of a series in the order of its volume's slices; as they are where one has no place in space."""
    if len(sources) == 1 or not all("ImagePositionPatient" in s and "ImageOrientationPatient" in s for s in sources):
        return sources
    cosines = np.asarray(sources[0].ImageOrientationPatient, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    heights = [float(np.dot(np.asarray(one.ImagePositionPatient, dtype=np.float64), normal)) for one in sources]
    return tuple(sources[i] for i in np.argsort(heights, kind="stable"))


def as_bytes(pixels: Shaped[np.ndarray, "C *space"]) -> UInt8[np.ndarray, "C *space"]:
    """Pixels of an image in 8 bits."""
    return pixels if pixels.dtype == np.uint8 else np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def source_dataset(texts: Mapping[str, str], numbers: Mapping[str, list[float]], transfer_syntax: str = "") -> Dataset:
    """A dataset with the header values that results repeat of their source.

    Args:
        texts: values by keyword, as `imaging.Header` gives them.
        numbers: values by keyword.
        transfer_syntax: UID.
    """
    dataset = Dataset()
    for keyword, text in texts.items():
        setattr(dataset, keyword, _plain_name(text) if keyword in _PERSONS else text)
    for keyword, values in numbers.items():
        if keyword in _LISTS:
            setattr(dataset, keyword, [float(f"{value:.10g}") for value in values])
        else:
            setattr(dataset, keyword, int(values[0]) if keyword in _WHOLE else values[0])
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
    ):  # type 2: present, though empty
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    if transfer_syntax:
        dataset.file_meta = _meta(transfer_syntax)
    return dataset


def _meta(transfer_syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax)
    return meta


def _plain_name(text: str) -> str:
    """A person's name within the limits of its type: three groups of 64 letters, no backslash."""
    return "=".join(group[:64] for group in text.replace("\\", " ").split("=")[:3])
