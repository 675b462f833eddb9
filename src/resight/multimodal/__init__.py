"""Several inputs to one answer: columns of a table beside the image, and several images of one patient."""

from resight.multimodal.base import FUSIONS, Fusion
from resight.multimodal.clinical import ClinicalInput, seen
from resight.multimodal.stems import STEMS, GatedStems, StemOptions
from resight.multimodal.table import (
    CategoricalColumn,
    ClinicalOptions,
    NumericColumn,
    TableEncoding,
    categorical_column,
    check_named,
    numeric_column,
    read_column,
)

__all__ = [
    "FUSIONS",
    "STEMS",
    "CategoricalColumn",
    "ClinicalInput",
    "ClinicalOptions",
    "Fusion",
    "GatedStems",
    "NumericColumn",
    "StemOptions",
    "TableEncoding",
    "categorical_column",
    "check_named",
    "numeric_column",
    "read_column",
    "seen",
]
