"""How a user describes a cohort: where it lies, which columns matter, and what blank and uncertain labels mean."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from resight.settings import Options
from resight.types import Task


class CohortOptions(Options):
    """A folder of classes, or a table of images and labels."""

    path: Path = Field(description="folder with one subfolder per class, or a CSV or Parquet table")
    images: Path | None = Field(
        default=None, description="folder the image names are relative to; default: beside the table"
    )
    name: str = Field(default="", description="short name for reports; default: the name of the folder")
    labels: tuple[str, ...] | None = Field(default=None, description="label columns, or classes of the label column")
    label_column: str | None = Field(default=None, description="column of class names, or of findings joined by '|'")
    task: Task | None = Field(default=None, description="kind of classification; default: what the labels look like")
    positive: str | None = Field(default=None, description="the class that counts as positive; all others are negative")
    image_column: str | None = Field(default=None, description="column of image names; default: found by its name")
    patient_column: str | None = Field(default=None, description="column of patient ids; default: found by its name")
    patient_pattern: str | None = Field(
        default=None, description="regular expression whose first group, found in the image name, is the patient"
    )
    split_column: str | None = Field(default=None, description="column that says train, validation or test")
    uncertain: Literal["ignore", "zeros", "ones", "smooth"] = Field(
        default="ignore", description="what -1 or 'u' becomes: masked, 0, 1, or a fixed number between 0.55 and 0.85"
    )
    blank: Literal["ignore", "negative"] = Field(default="ignore", description="what an empty label becomes")
    modalities: tuple[str, ...] = Field(
        default=(), description="columns that name several images of each row, blank where one is missing"
    )
    time_column: str | None = Field(default=None, description="follow-up time: labels become intervals of time")
    event_column: str | None = Field(default=None, description="1 where the event ended the follow-up, 0: censored")
    intervals: int | tuple[float, ...] = Field(
        default=6,
        description="ends of the intervals, rising, or how many; of a number, training events choose the ends",
    )
    label_map: Path | None = Field(
        default=None, description="TOML or CSV of labels and synonyms, or 'chest-xray', which comes along"
    )
    missing_images: Literal["error", "drop", "keep"] = Field(
        default="error", description="what happens to rows whose image is not there"
    )

    @model_validator(mode="after")
    def _followed(self) -> CohortOptions:
        if (self.time_column is None) != (self.event_column is None):
            raise ValueError("time_column and event_column together")
        if self.time_column is not None and (self.labels or self.label_column or self.task):
            raise ValueError("either labels or a time to an event")
        ends = self.intervals
        if isinstance(ends, int) and not 2 <= ends <= 100:
            raise ValueError("2 to 100 intervals")
        if isinstance(ends, tuple) and not (len(ends) > 1 and all(a < b for a, b in pairwise((0.0, *ends)))):
            raise ValueError("two or more ends of intervals, rising and above 0")
        return self
