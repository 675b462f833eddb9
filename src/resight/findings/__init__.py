"""What a model found as DICOM objects: structured report, secondary capture, presentation state, parametric map."""

from resight.findings.base import (
    Finding,
    FoundImage,
    FoundStudy,
    FoundVolume,
    ModelIdentity,
    ObjectKind,
    derived_uid,
    source_dataset,
)
from resight.findings.codes import Code, code_of
from resight.findings.objects import WrittenObject, write_objects

__all__ = [
    "Code",
    "Finding",
    "FoundImage",
    "FoundStudy",
    "FoundVolume",
    "ModelIdentity",
    "ObjectKind",
    "WrittenObject",
    "code_of",
    "derived_uid",
    "source_dataset",
    "write_objects",
]
