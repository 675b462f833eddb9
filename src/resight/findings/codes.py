"""Codes of the labels: SNOMED CT and RadLex where one says what the label says, a code of our own otherwise.

pydicom's tables hold only the codes that DICOM itself uses. A label without an entry gets a code of the private
scheme `99RESIGHT`: a code that means something else would be worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import Field
from pydicom.sr.coding import Code as DicomCode

from resight.settings import Options

LOCAL_SCHEME: Final = "99RESIGHT"


class Code(Options):
    """A coded concept."""

    value: str = Field(min_length=1, max_length=16, description="code value")
    scheme: str = Field(default="SCT", min_length=1, max_length=16, description="coding scheme designator")
    meaning: str = Field(min_length=1, max_length=64, description="code meaning")

    def dicom(self) -> DicomCode:
        """As pydicom and highdicom take it."""
        return DicomCode(self.value, self.scheme, self.meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


def _radlex(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="RADLEX", meaning=meaning)


SNOMED: Final[Mapping[str, Code]] = {
    "atelectasis": _sct("46621007", "Atelectasis"),
    "cardiomegaly": _sct("8186001", "Cardiomegaly"),
    "consolidation": _sct("95436008", "Pulmonary consolidation"),
    "edema": _sct("19242006", "Pulmonary edema"),
    "effusion": _sct("60046008", "Pleural effusion"),
    "emphysema": _sct("87433001", "Pulmonary emphysema"),
    "fibrosis": _sct("51615001", "Fibrosis of lung"),
    "glioma": _sct("393564001", "Glioma"),
    "hernia": _sct("39839004", "Diaphragmatic hernia"),
    "infiltration": _sct("409609008", "Radiologic infiltrate of lung"),
    "mass": _sct("309529002", "Lung mass"),
    "melanoma": _sct("93655004", "Malignant melanoma of skin"),
    "meningioma": _sct("302820008", "Intracranial meningioma"),
    "nevus": _sct("400096001", "Melanocytic nevus"),
    "nodule": _sct("427359005", "Solitary nodule of lung"),
    "pleural effusion": _sct("60046008", "Pleural effusion"),
    "pneumonia": _sct("233604007", "Pneumonia"),
    "pneumothorax": _sct("36118008", "Pneumothorax"),
    "pulmonary edema": _sct("19242006", "Pulmonary edema"),
    "seborrheic keratosis": _sct("25499005", "Seborrheic keratosis"),
}
RADLEX: Final[Mapping[str, Code]] = {
    "atelectasis": _radlex("RID28493", "atelectasis"),
    "consolidation": _radlex("RID43255", "consolidation"),
    "edema": _radlex("RID4866", "pulmonary edema"),
    "effusion": _radlex("RID34539", "pleural effusion"),
    "emphysema": _radlex("RID4799", "emphysema"),
    "mass": _radlex("RID39056", "lung mass"),
    "nodule": _radlex("RID50149", "pulmonary nodule"),
    "pleural effusion": _radlex("RID34539", "pleural effusion"),
    "pneumonia": _radlex("RID5350", "pneumonia"),
    "pneumothorax": _radlex("RID5352", "pneumothorax"),
    "pulmonary edema": _radlex("RID4866", "pulmonary edema"),
}

PRESENT: Final = DicomCode("52101004", "SCT", "Present")
BELOW: Final = DicomCode("below-threshold", LOCAL_SCHEME, "Below the threshold of the operating point")
DECISION: Final = DicomCode("decision", LOCAL_SCHEME, "Decision at the operating point")
THRESHOLD: Final = DicomCode("threshold", LOCAL_SCHEME, "Threshold of the operating point")
PROBABILITY: Final = DicomCode("probability", LOCAL_SCHEME, "Calibrated probability of the finding")
SCORE: Final = DicomCode("score", LOCAL_SCHEME, "Uncalibrated score of the finding")
USE: Final = DicomCode("use", LOCAL_SCHEME, "Permitted use of this result")
RESEARCH: Final = DicomCode("research-only", LOCAL_SCHEME, "For research use only, not for diagnosis")
CLEARED: Final = DicomCode("cleared", LOCAL_SCHEME, "As stated by the manufacturer of the model")
ALERT: Final = DicomCode("alert", LOCAL_SCHEME, "Image quality alert")
RADLEX_FINDING: Final = DicomCode("radlex-finding", LOCAL_SCHEME, "Finding in RadLex")


def code_of(label: str, own: Mapping[str, Code] | None = None) -> Code:
    """The code of a label.

    Args:
        label: name of the label.
        own: codes that the settings give; they go first.
    """
    name = normalised(label)
    if own and label in own:
        return own[label]
    return SNOMED.get(name) or local_code(label)


def radlex_of(label: str) -> Code | None:
    """The code of a label in RadLex; None where none is known to say the same."""
    return RADLEX.get(normalised(label))


def local_code(label: str, meaning: str | None = None) -> Code:
    """A code of the private scheme, within the 16 characters that a code value may have."""
    value = re.sub(r"[^a-z0-9]+", "-", label.casefold()).strip("-")[:16].strip("-") or "label"
    return Code(value=value, scheme=LOCAL_SCHEME, meaning=(meaning or label)[:64])


def normalised(label: str) -> str:
    """A label's name without case, underscores and hyphens."""
    return " ".join(re.split(r"[\s_-]+", label.casefold().strip()))
