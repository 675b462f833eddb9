"""The images of a finished run, part by part, for whoever goes on with its model."""

from __future__ import annotations

from pathlib import Path

from resight.cohorts import load_cohort
from resight.errors import CohortError
from resight.experiments.settings import ExperimentSettings
from resight.predictions import Predictions
from resight.settings import load_toml
from resight.types import Cohort


def cohort_of_run(run: Path, split: str) -> Cohort:
    """The images that a run put into one part.

    Args:
        run: folder of the run; its cohort must still lie where it was.
        split: `train`, `validation` or `test`.

    Raises:
        CohortError: the cohort has moved, or the run has no such part.
        SettingsError: the settings of the run cannot be read.
        PredictionsError: its predictions cannot be read.
    """
    cohort = load_cohort(load_toml(run / "settings.toml", ExperimentSettings).cohort)
    images = Predictions.read(run / "predictions.csv", cohort.task).images()
    part = cohort.rows(cohort.table["image"].isin(images.loc[images["split"] == split, "image"]).to_numpy())
    if not len(part):
        raise CohortError(f"no images of the part {split!r}", where=str(run))
    return part
