"""How a user describes a cohort: where it lies, which columns matter, and what blank and uncertain labels mean."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

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
    label_map: Path | None = Field(
        default=None, description="TOML or CSV of labels and synonyms, or 'chest-xray', which comes along"
    )
    missing_images: Literal["error", "drop", "keep"] = Field(
        default="error", description="what happens to rows whose image is not there"
    )
