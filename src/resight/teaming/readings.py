"""The readings table: what people said of images, one row a reader, image, label and arm.

Columns: `image`, `reader`, and `rating` (how sure that the label is present, any scale) or `decision` (0 or 1);
optional `label`, `arm` (`unaided`, `aided`, ...), `patient_id`, `target`, `seconds`, `session`, `order`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from resight.errors import PredictionsError, nearest
from resight.predictions import Predictions
from resight.tables import read_table, require_columns

UNAIDED = "unaided"
"""Name of the arm of tables that name none."""
_NUMBERS = ("rating", "decision", "target", "seconds", "order")
_KEY = ["image", "label", "reader", "arm"]


@dataclass(frozen=True)
class Readings:
    """A readings table in long form.

    Attributes:
        table: one row per reader, image, label and arm; a reading that was not made has no row or an empty one.
        labels: labels that were read, in order of appearance.
        readers: in order of name.
        arms: in order of appearance.
    """

    table: pd.DataFrame
    labels: tuple[str, ...]
    readers: tuple[str, ...]
    arms: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, *, only_label: str = "label") -> Readings:
        """Read a table made by a viewer, a spreadsheet or `resight readerstudy design`.

        Args:
            path: CSV or Parquet.
            only_label: what the label is called where the table has no column for it.

        Raises:
            PredictionsError: a column is missing, a value impossible, or a reader read the same image twice.
        """
        names = ("image", "patient_id", "label", "reader", "arm", "session")
        table = read_table(path, error=PredictionsError, text_columns=names)
        return cls.from_table(table, where=str(path), only_label=only_label)

    @classmethod
    def beside(cls, path: Path, labels: Sequence[str]) -> Readings:
        """Read a table of images that have these labels; a single one needs no column. Errors as `read`."""
        return cls.read(path, only_label=labels[0]) if len(labels) == 1 else cls.read(path)

    @classmethod
    def from_table(cls, table: pd.DataFrame, *, where: str = "readings", only_label: str = "label") -> Readings:
        """Check a table. Arguments and errors as `read`."""
        require_columns(table, "image", "reader", error=PredictionsError, where=where)
        if not {"rating", "decision"} & set(table.columns):
            raise PredictionsError("no column with readings", where=where, expected="rating or decision")
        if table.empty:
            raise PredictionsError("the table has no rows", where=where)
        table = table.copy()
        for column, value in (("label", only_label), ("arm", UNAIDED)):
            table[column] = table[column].astype(str) if column in table.columns else value
        table["image"], table["reader"] = table["image"].astype(str), table["reader"].astype(str)
        for column in set(_NUMBERS) & set(table.columns):
            table[column] = _numbers(table[column], column, where)
        _check_binary(table, "decision", where)
        _check_binary(table, "target", where)
        twice = table.duplicated(_KEY)
        if twice.any():
            row = table.loc[twice].iloc[0]
            found = f"reader {row['reader']!r} has two readings of image {row['image']!r}, label {row['label']!r}"
            raise PredictionsError(found, where=where, expected="one in each arm")
        return cls(
            table.reset_index(drop=True),
            tuple(table["label"].unique()),
            tuple(sorted(table["reader"].unique())),
            tuple(table["arm"].unique()),
        )

    def of(self, label: str, arm: str | None = None) -> Readings:
        """The readings of one label, and of one arm where one is named.

        Raises:
            PredictionsError: nobody read that label or arm.
        """
        for kind, name, known in (("label", label, self.labels), ("arm", arm, self.arms)):
            if name is not None and name not in known:
                raise PredictionsError(f"no readings of {kind} {name!r}", fix=nearest(name, known))
        keep = self.table["label"] == label
        if arm is not None:
            keep &= self.table["arm"] == arm
        part = self.table.loc[keep].reset_index(drop=True)
        return replace(self, table=part, labels=(label,), arms=tuple(part["arm"].unique()))

    def matrix(self, column: str, images: np.ndarray, arm: str) -> Float[np.ndarray, "J N"]:
        """One column of one label and arm as readers by images; NaN where a reading is missing."""
        part = self.table.loc[self.table["arm"] == arm]
        wide = part.pivot(index="reader", columns="image", values=column)
        return wide.reindex(index=list(self.readers), columns=list(images)).to_numpy(dtype=np.float64)

    def with_reference(self, predictions: Predictions) -> Readings:
        """The same with target, patient, score, probability and decision of a model beside each reading.

        The model's columns are named `model_score`, `model_probability` and `model_decision`. Readings of images that
        the predictions do not hold are left out; a `target` of the readings themselves is replaced.

        Raises:
            PredictionsError: not one image is in both.
        """
        theirs = predictions.table.assign(model_probability=predictions.probabilities().ravel())
        theirs = theirs.rename(columns={"decision": "model_decision", "score": "model_score"})
        wanted = ["patient_id", "target", "model_score", "model_probability", "model_decision"]
        columns = [c for c in wanted if c in theirs.columns]
        ours = self.table.drop(columns=[c for c in columns if c in self.table.columns])
        joined = ours.merge(theirs[["image", "label", *columns]], on=["image", "label"], how="inner")
        if joined.empty:
            fix = "Names in the columns image and label must be written alike in both tables."
            raise PredictionsError("readings and predictions share no image", where="readings", fix=fix)
        present = joined["label"].unique()
        labels = tuple(label for label in self.labels if label in present)
        return replace(self, table=joined, labels=labels)

    def patients(self) -> np.ndarray:
        """Patient of every row; the image where no patient is given."""
        if "patient_id" not in self.table.columns:
            return self.table["image"].to_numpy(dtype=object)
        return self.table["patient_id"].fillna(self.table["image"]).astype(str).to_numpy(dtype=object)


def _numbers(values: pd.Series, column: str, where: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() & values.notna()
    if wrong.any():
        raise PredictionsError(f"{column} = {values[wrong].iloc[0]!r}", where=where, expected="a number")
    if np.isinf(numbers).any():
        raise PredictionsError(f"{column} is infinite", where=where, expected="a number")
    return numbers.astype(float)


def _check_binary(table: pd.DataFrame, column: str, where: str) -> None:
    if column in table.columns:
        known = table[column].dropna()
        if not known.isin([0.0, 1.0]).all():
            wrong = known[~known.isin([0.0, 1.0])].iloc[0]
            raise PredictionsError(f"{column} = {wrong:g}", where=where, expected="0 or 1")
