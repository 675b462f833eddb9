"""How a cohort is named on the command line: a path and the few options that most tables need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from resight.cohorts import CohortOptions
    from resight.types import Cohort


@Parameter(name="*")
@dataclass(frozen=True)
class CohortArguments:
    """Which images and labels.

    Attributes:
        path: folder with one subfolder per class, table (CSV, Parquet), or the folder of ChestX-ray14.
        images: folder the image names are relative to.
        label_column: column of class names, or of findings joined by '|'.
        labels: label columns, in order.
        positive: the class that counts as positive.
        patient_column: column of patient identifiers.
        option: any other cohort option, for example `uncertain=ones`.
    """

    path: Annotated[Path, Parameter(name="path")]
    images: Annotated[Path | None, Parameter(name="--images")] = None
    label_column: Annotated[str | None, Parameter(name="--label-column")] = None
    labels: Annotated[list[str] | None, Parameter(name="--labels", consume_multiple=True, negative="")] = None
    positive: Annotated[str | None, Parameter(name="--positive")] = None
    patient_column: Annotated[str | None, Parameter(name="--patient-column")] = None
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None

    def options(self) -> CohortOptions:
        """As the cohort room takes them.

        Raises:
            SettingsError: an unknown option or an impossible value.
        """
        from resight.cohorts import CohortOptions
        from resight.settings import parse_overrides, validate

        data: dict[str, Any] = {"path": self.path}
        for name in ("images", "label_column", "labels", "positive", "patient_column"):
            if (value := getattr(self, name)) is not None:
                data[name] = value
        return validate(CohortOptions, data | parse_overrides(self.option or []), where="command line")

    def load(self) -> Cohort:
        """Read the cohort.

        Raises:
            CohortError: it cannot be read as one.
        """
        from resight.cohorts import load_chestxray14, load_cohort

        if self.path.is_dir() and any(self.path.glob("Data_Entry_2017*")):
            return load_chestxray14(self.path)
        return load_cohort(self.options())
