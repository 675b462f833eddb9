"""The predictions table: what every model writes and every evaluation, audit, comparison and report reads.

One row per image and label. `score` (what the model said), `probability` (calibrated on a named cohort) and `decision`
(at a named operating point) are three different things and have three columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from resight.errors import PredictionsError
from resight.tables import read_table, require_columns, write_table
from resight.types import OUTCOME_COLUMNS, Mask, Scores, Targets, Task

COLUMNS = (
    "image",
    "patient_id",
    "split",
    "fold",
    "label",
    "logit",
    "score",
    "probability",
    "decision",
    "conformal",
    "conformal_group",
    "spread",
    "operating_point",
    "target",
    "mask",
    "time",
    "event",
    "horizon",
    "survival",
    "error",
)
"""Columns with a meaning of their own, in the order they are written; all others are attributes (age, sex, ...)."""
NOVELTY = "novelty"
"""Share of held-out images that lie nearer to the training images in the network's features."""
FEATURE = "feature_"
"""With a number: where an image lies along one of the directions in which training images differ most."""
_NUMBERS = ("logit", "score", "probability", "decision", "target", "time", "event", "horizon", "survival")
_TRUE = {"1", "true", "yes", "1.0"}


@dataclass(frozen=True)
class Predictions:
    """A predictions table in long form.

    Attributes:
        table: one row per image and label, every image with all labels in the same order.
        labels: the labels in order.
        task: kind of classification; decides whether scores of one image sum to 1.
    """

    table: pd.DataFrame
    labels: tuple[str, ...]
    task: Task

    @classmethod
    def from_arrays(
        cls,
        images: pd.DataFrame | Mapping[str, Any],
        labels: tuple[str, ...],
        task: Task,
        **columns: np.ndarray[Any, Any] | None,
    ) -> Predictions:
        """Lay `(N, L)` arrays out as rows.

        Args:
            images: N rows, or columns of N values: `image` and whatever else is known of it (`patient_id`, `split`,
                attributes).
            labels: names of the L columns of each array.
            task: kind of classification.
            **columns: arrays of shape `(N, L)` named as the columns of the table; None is left away.
        """
        count, n_labels = len(images["image"]), len(labels)
        table: dict[str, Any] = {str(name): _repeated(values, n_labels) for name, values in images.items()}
        table["label"] = np.tile(np.asarray(labels, dtype=object), count)
        table |= {
            name: np.asarray(array).reshape(count * n_labels) for name, array in columns.items() if array is not None
        }
        first = [name for name in COLUMNS if name in table]
        # made at once, as every column put into a table by itself costs more than its numbers
        return cls(pd.DataFrame({name: table[name] for name in dict.fromkeys([*first, *table])}), labels, task)

    @classmethod
    def read(cls, path: str | Path, task: Task | None = None) -> Predictions:
        """Read a table made by anybody.

        Needed are `image`, `label` and one of `probability`, `score`, `logit`; `target` for an evaluation. Where
        `score` is absent it is taken from the best there is; where `mask` is absent, a row with a target counts.

        Args:
            path: CSV or Parquet file.
            task: kind of classification; guessed from the table when not given (one label: binary; targets of each
                image sum to 1: multiclass; otherwise multilabel).

        Raises:
            PredictionsError: a column is missing, a value impossible, or an image lacks a label or has it twice.
        """
        path = Path(path)
        table = read_table(path, error=PredictionsError, text_columns=("image", "patient_id", "label"))
        where = str(path)
        require_columns(table, "image", "label", error=PredictionsError, where=where)
        if not {"probability", "score", "logit"} & set(table.columns):
            raise PredictionsError("no column with predictions", where=where, expected="probability, score or logit")
        if table.empty:
            raise PredictionsError("the table has no rows", where=where)
        for column in set(_NUMBERS) & set(table.columns):
            table[column] = _numbers(table, column, where)
        _check_names(table, where)
        table = table.astype({"image": str, "label": str})
        labels = tuple(str(label) for label in table["label"].unique())
        table = _rectangular(table, labels, where)
        _check_ranges(table, where)
        table["score"] = _best_score(table)
        table["mask"] = _mask(table)
        return cls(_ordered(table), labels, task or _guess_task(table, len(labels)))

    def write(self, path: str | Path) -> None:
        """Write CSV, or Parquet where the name ends in `.parquet`; floats keep all digits."""
        write_table(self.table, Path(path))

    def __len__(self) -> int:
        return len(self.table) // len(self.labels)

    def images(self) -> pd.DataFrame:
        """One row per image: `image`, `patient_id`, `split`, and the attributes."""
        per_label = {*COLUMNS} - {"image", "patient_id", "split", "fold", *OUTCOME_COLUMNS, "error"}
        columns = [c for c in self.table.columns if c not in per_label]
        return self.table.loc[self.table.index[:: len(self.labels)], columns].reset_index(drop=True)

    def array(self, column: str) -> Scores:
        """One column as `(N, L)` floats; NaN where the table holds nothing.

        Raises:
            PredictionsError: the table has no such column.
        """
        require_columns(self.table, column, error=PredictionsError, where="predictions table")
        return self.table[column].to_numpy(dtype=np.float64).reshape(-1, len(self.labels))

    def has(self, column: str) -> bool:
        """Whether a column is there and holds at least one value."""
        return column in self.table.columns and bool(self.table[column].notna().any())

    def probabilities(self) -> Scores:
        """Calibrated probabilities where the table has them, raw scores otherwise."""
        return self.array("probability" if self.has("probability") else "score")

    def targets(self) -> Targets:
        """Targets `(N, L)`; NaN where unknown."""
        return self.array("target")

    def known(self) -> Mask:
        """True where the target is known and the row counts, with a score or without."""
        known = ~np.isnan(self.targets())
        return known & (self.array("mask") > 0) if "mask" in self.table.columns else known

    def mask(self) -> Mask:
        """True where target and score are known and the row counts."""
        return self.known() & ~np.isnan(self.array("score"))

    def groups(self) -> np.ndarray[Any, Any]:
        """Patient of every image `(N,)`; the image itself where no patient is given."""
        images = self.images()
        if "patient_id" not in images.columns:
            return images["image"].to_numpy(dtype=object)
        return images["patient_id"].fillna(images["image"]).astype(str).to_numpy(dtype=object)

    def part(self, **equal: str | int) -> Predictions:
        """The rows where every named column has the given value, for example `part(split="test")`.

        Raises:
            PredictionsError: the table has no such column.
        """
        require_columns(self.table, *equal, error=PredictionsError, where="predictions table")
        keep = np.ones(len(self.table), dtype=bool)
        for column, value in equal.items():
            keep &= (self.table[column] == value).to_numpy()
        return replace(self, table=self.table.loc[keep].reset_index(drop=True))


def scores_of(logits: Scores, task: Task) -> Scores:
    """Softmax for a multiclass task, otherwise the logistic function of each logit."""
    return softmax(logits, axis=1) if task == "multiclass" else expit(logits)


def _numbers(table: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    values = table[column]
    if values.dtype == object:
        values = values.map(lambda v: 1.0 if str(v).lower() == "true" else 0.0 if str(v).lower() == "false" else v)
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    bad = numbers.isna() & values.notna()
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise PredictionsError(
            f"{column} = {table[column].iloc[row]!r} in row {row + 2}", where=where, expected="a number"
        )
    return numbers


def _check_names(table: pd.DataFrame, where: str) -> None:
    for column in ("image", "label"):
        absent = table[column].isna().to_numpy()
        if absent.any():
            raise PredictionsError(f"no {column} in row {int(absent.argmax()) + 2}", where=where)


def _rectangular(table: pd.DataFrame, labels: tuple[str, ...], where: str) -> pd.DataFrame:
    twice = table.duplicated(["image", "label"])
    if twice.any():
        row = table.loc[twice].iloc[0]
        raise PredictionsError(f"image {row['image']!r} has label {row['label']!r} twice", where=where, expected="once")
    counts = table.groupby("image", sort=False)["label"].size()
    short = counts.index[counts.to_numpy() != len(labels)]
    if len(short):
        have = set(table["label"][table["image"] == short[0]])
        missing = [label for label in labels if label not in have]
        raise PredictionsError(
            f"image {short[0]!r} has no row for label {missing[0]!r}", where=where, expected="a row each"
        )
    image_order, _ = pd.factorize(table["image"])
    label_order = pd.Categorical(table["label"], categories=list(labels)).codes
    return table.iloc[np.lexsort((label_order, image_order))].reset_index(drop=True)


def _check_ranges(table: pd.DataFrame, where: str) -> None:
    for column in ("probability", "target", "decision"):
        if column not in table.columns:
            continue
        values = table[column]
        outside = ((values < 0) | (values > 1)).to_numpy()
        if column == "decision":
            outside = (values.notna() & ~values.isin([0, 1])).to_numpy()
        if outside.any():
            row = int(outside.argmax())
            found = f"{column} = {values.iloc[row]:g} for image {table['image'].iloc[row]!r}"
            raise PredictionsError(found, where=where, expected="0 or 1" if column == "decision" else "0 to 1")


def _best_score(table: pd.DataFrame) -> pd.Series[float]:
    column = next(c for c in ("score", "probability", "logit") if c in table.columns)
    return table[column]


def _mask(table: pd.DataFrame) -> pd.Series[bool]:
    known = table["target"].notna() if "target" in table.columns else pd.Series(data=False, index=table.index)
    if "mask" in table.columns:
        known &= table["mask"].astype(str).str.lower().isin(_TRUE)
    return known


def _guess_task(table: pd.DataFrame, n_labels: int) -> Task:
    if n_labels == 1:
        return "binary"
    if "target" in table.columns:
        sums = table["target"].to_numpy(dtype=float).reshape(-1, n_labels).sum(axis=1)
        known = sums[~np.isnan(sums)]
        if len(known) and np.all(np.isclose(known, 1.0)):
            return "multiclass"
    return "multilabel"


def _repeated(values: Any, times: int) -> Any:
    """Each value so many times, in the type it has."""
    if isinstance(values, pd.Series):
        return values.array.repeat(times)
    return values.repeat(times) if isinstance(values, np.ndarray) else [one for one in values for _ in range(times)]


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    first = [c for c in COLUMNS if c in table.columns]
    return table[[*first, *(c for c in table.columns if c not in COLUMNS)]]
