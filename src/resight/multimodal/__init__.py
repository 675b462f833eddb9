"""Several inputs to one answer: columns of a table beside the image, and several images of one patient."""

from resight.multimodal.base import FUSIONS, Fusion
from resight.multimodal.clinical import ClinicalInput, seen
from resight.multimodal.stems import STEMS, GatedStems, StemOptions
from resight.multimodal.table import CategoricalColumn, ClinicalOptions, NumericColumn, TableEncoding

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
    "seen",
]
