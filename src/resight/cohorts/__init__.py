"""Who is in the study: cohorts from folders and tables, splits by patient, the leak check, datasheets, a phantom."""

from resight.cohorts.chestxray14 import load_boxes, load_chestxray14
from resight.cohorts.clinical import load_cases, load_clinical
from resight.cohorts.datasheets import QUESTIONS, datasheet
from resight.cohorts.isic2017 import ISIC_LABELS, load_isic2017
from resight.cohorts.label_map import LabelEntry, LabelMap
from resight.cohorts.leaks import LeakOptions, LeakReport, leakcheck
from resight.cohorts.load import load_cohort
from resight.cohorts.options import CohortOptions
from resight.cohorts.phantom import PhantomImage, render, write_phantom
from resight.cohorts.phantom_cases import PhantomOptions
from resight.cohorts.phantom_combinations import CombinationOptions, write_combination
from resight.cohorts.split import SplitOptions, assign_folds, split_cohort, split_counts
from resight.cohorts.summary import CohortSummary, inspect_cohort
from resight.cohorts.volume_phantom import PhantomVolume, VolumePhantomOptions, render_volume, write_volume_phantom

__all__ = [
    "ISIC_LABELS",
    "QUESTIONS",
    "CohortOptions",
    "CohortSummary",
    "CombinationOptions",
    "LabelEntry",
    "LabelMap",
    "LeakOptions",
    "LeakReport",
    "PhantomImage",
    "PhantomOptions",
    "PhantomVolume",
    "SplitOptions",
    "VolumePhantomOptions",
    "assign_folds",
    "datasheet",
    "inspect_cohort",
    "leakcheck",
    "load_boxes",
    "load_cases",
    "load_chestxray14",
    "load_clinical",
    "load_cohort",
    "load_isic2017",
    "render",
    "render_volume",
    "split_cohort",
    "split_counts",
    "write_combination",
    "write_phantom",
    "write_volume_phantom",
]
