"""Predictions of more images than one sitting, one process or one disk holds: in parts, once each, over processes."""

from resight.bulk.job import Job
from resight.bulk.listing import ImageList, is_manifest
from resight.bulk.part import PartPredictor, Work
from resight.bulk.report import BulkReport
from resight.bulk.run import Spread, predict_in_parts
from resight.bulk.stores import is_url

__all__ = [
    "BulkReport",
    "ImageList",
    "Job",
    "PartPredictor",
    "Spread",
    "Work",
    "is_manifest",
    "is_url",
    "predict_in_parts",
]
