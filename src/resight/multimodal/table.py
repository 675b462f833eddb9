"""Columns of a table as numbers for a network: fitted on training rows once, kept in the bundle, without torch.

A number becomes its standardised value and a flag that it is missing; a category becomes one indicator per value seen
in training and the same flag. Missing is a state of its own and never a mean in disguise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field, field_validator

from resight.errors import CohortError, nearest
from resight.settings import Options

Policy = Literal["error", "missing"]
Encoded = Float[np.ndarray, "N T"]

_MOST_CATEGORIES = 50
"""More distinct values are names, dates or free text: indicators of them would be a list of patients."""


class ClinicalOptions(Options):
    """Columns of the cohort's table that the network reads beside the image."""

    columns: tuple[str, ...] = Field(min_length=1, description="attributes of the cohort, in order")
    categorical: tuple[str, ...] = Field(default=(), description="columns of numbers that are names, such as codes")
    unseen: Policy = Field(default="error", description="what a category becomes that training did not see")
    absent: Policy = Field(default="error", description="what becomes of a column that a table lacks altogether")
    table_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="share of training rows whose table is hidden; 0 needs a table ever after"
    )
    image_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="share of training rows whose image is hidden (black everywhere)"
    )

    compare: bool = Field(
        default=True, description="also train on images alone, so that the gain is known; doubles the training time"
    )

    @field_validator("columns")
    @classmethod
    def _once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("every column once")
        return columns


class NumericColumn(Options):
    """A column of numbers with mean and standard deviation of its training rows."""

    name: str
    mean: float
    std: float = Field(gt=0)


class CategoricalColumn(Options):
    """A column of names with the values of its training rows, in order."""

    name: str
    categories: tuple[str, ...] = Field(min_length=1)


class TableEncoding(Options):
    """How rows of a table become the numbers a network takes; part of the bundle."""

    columns: tuple[NumericColumn | CategoricalColumn, ...] = Field(min_length=1)
    unseen: Policy = "error"
    absent: Policy = "error"

    @classmethod
    def fit(cls, table: pd.DataFrame, options: ClinicalOptions, *, where: str) -> TableEncoding:
        """Learn means, deviations and categories.

        Args:
            table: training rows only.
            options: which columns, and how to treat what comes later.
            where: the cohort, for messages.

        Raises:
            CohortError: a column is not there, empty, constant, or text with too many values.
        """
        check_named(options, where=where)
        columns = [_fit_column(table, name, options, where) for name in options.columns]
        return cls(columns=tuple(columns), unseen=options.unseen, absent=options.absent)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns a table must have."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """T, numbers per row."""
        return len(self.nothing())

    def nothing(self) -> Float[np.ndarray, " T"]:
        """A row of which nothing is known."""
        return np.concatenate([_missing(column) for column in self.columns]).astype(np.float32)

    def check_columns(self, present: Sequence[str], *, where: str) -> None:
        """Refuse a table that lacks a column, unless absent columns count as missing.

        Raises:
            CohortError: a column is not there.
        """
        lacking = [name for name in self.names if name not in present]
        if lacking and self.absent == "error":
            more = f" ({len(lacking)} columns lack)" if len(lacking) > 1 else ""
            raise CohortError(
                f"no column {lacking[0]!r}, which the model reads{more}",
                where=where,
                expected=", ".join(self.names),
                fix=nearest(lacking[0], present),
            )

    def encode(self, table: pd.DataFrame, *, where: str) -> Encoded:
        """Rows `(N, T)`, `float32`.

        Args:
            table: rows with the columns of the encoding; `image` names them in messages where it is there.
            where: the table, for messages.

        Raises:
            CohortError: a column is not there, a number is none or infinite, or a category was not seen in training.
        """
        self.check_columns([str(name) for name in table.columns], where=where)
        rows = len(table)
        parts: list[Float[np.ndarray, "N K"]] = []
        for column in self.columns:
            if column.name not in table.columns:
                parts.append(np.tile(_missing(column), (rows, 1)))
            elif isinstance(column, NumericColumn):
                values = _numbers(table[column.name], column.name, where, table)
                known = ~np.isnan(values)
                scaled = np.where(known, (values - column.mean) / column.std, 0.0)
                parts.append(np.column_stack([scaled, ~known]))
            else:
                parts.append(self._indicators(table, column, where))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _indicators(self, table: pd.DataFrame, column: CategoricalColumn, where: str) -> Float[np.ndarray, "N K"]:
        text = _text(table[column.name])
        known = text.isin(column.categories).to_numpy()
        strange = ~known & text.notna().to_numpy()
        if strange.any() and self.unseen == "error":
            row = int(strange.argmax())
            raise CohortError(
                f"column {column.name!r} of {_row_name(table, row)} is {text.iloc[row]!r}, which training did not see",
                where=where,
                expected=f"one of {', '.join(column.categories)}, or blank",
            )
        indicators = [(text == category).to_numpy() for category in column.categories]
        return np.column_stack([*indicators, ~known]).astype(np.float64)


def read_column(
    table: pd.DataFrame, name: str, options: ClinicalOptions, *, where: str
) -> Float[np.ndarray, " N"] | pd.Series[Any]:
    """A clinical column as what it holds: numbers with NaN, or names with None; without any value it holds numbers.

    Args:
        table: rows to learn from.
        name: of the column.
        options: say which numbers are names.
        where: the table, for messages.

    Raises:
        CohortError: the column is not there, a number is infinite, or text has too many values.
    """
    if name not in table.columns:
        fix = nearest(name, map(str, table.columns))
        raise CohortError(f"no clinical column {name!r}", where=where, fix=fix)
    values = table[name]
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if numeric and name not in options.categorical:
        return _numbers(values, name, where, None)
    text = _text(values)
    if text.isna().all():
        return np.full(len(values), np.nan)
    _check_few(name, text.dropna().unique(), where)
    return text


def check_named(options: ClinicalOptions, *, where: str) -> None:
    """Refuse categorical columns that are not among the columns.

    Raises:
        CohortError: one is not.
    """
    if strange := sorted(set(options.categorical) - set(options.columns)):
        raise CohortError(f"categorical column {strange[0]!r}", where=where, expected="one of clinical.columns")


def numeric_column(name: str, known: int, rows: int, mean: float, std: float, *, where: str) -> NumericColumn:
    """A column of numbers, of which `known` of `rows` training rows have one.

    Raises:
        CohortError: none has, or all have the same.
    """
    if not known:
        raise CohortError(f"the clinical column {name!r} is empty in every training row", where=where)
    if std == 0 and known == rows:
        raise CohortError(f"the clinical column {name!r} is {mean:g} in every training row", where=where)
    return NumericColumn(name=name, mean=mean, std=std or 1.0)


def categorical_column(name: str, categories: Iterable[str], known: int, rows: int, *, where: str) -> CategoricalColumn:
    """A column of names, of which `known` of `rows` training rows have one.

    Raises:
        CohortError: they are too many, or all the same.
    """
    ordered = tuple(sorted(categories))
    _check_few(name, ordered, where)
    if len(ordered) == 1 and known == rows:
        raise CohortError(f"the clinical column {name!r} is {ordered[0]!r} in every training row", where=where)
    return CategoricalColumn(name=name, categories=ordered)


def _fit_column(
    table: pd.DataFrame, name: str, options: ClinicalOptions, where: str
) -> NumericColumn | CategoricalColumn:
    values = read_column(table, name, options, where=where)
    if isinstance(values, pd.Series):
        return categorical_column(name, values.dropna().unique(), int(values.notna().sum()), len(values), where=where)
    known = values[~np.isnan(values)]
    mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    return numeric_column(name, len(known), len(values), mean, std, where=where)


def _check_few(name: str, categories: Sequence[str], where: str) -> None:
    if len(categories) > _MOST_CATEGORIES:
        raise CohortError(
            f"the clinical column {name!r} has {len(categories)} different values",
            where=where,
            expected=f"numbers, or at most {_MOST_CATEGORIES} categories",
        )


def _missing(column: NumericColumn | CategoricalColumn) -> Float[np.ndarray, " K"]:
    values = np.zeros(2 if isinstance(column, NumericColumn) else len(column.categories) + 1)
    values[-1] = 1.0
    return values


def _numbers(values: pd.Series[Any], name: str, where: str, table: pd.DataFrame | None) -> Float[np.ndarray, " N"]:
    blank = values.isna() | (values.astype(str).str.strip() == "")
    numbers = pd.to_numeric(values.where(~blank), errors="coerce").to_numpy(dtype=np.float64)
    wrong = (np.isnan(numbers) & ~blank.to_numpy()) | np.isinf(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        of = f" of {_row_name(table, row)}" if table is not None else ""
        raise CohortError(
            f"column {name!r}{of} is {str(values.iloc[row])!r}", where=where, expected="a number, or blank"
        )
    return numbers


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    """Values as text, blanks as None; 1 and 1.0 are the same name."""
    if pd.api.types.is_float_dtype(values.dtype) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")
    return values.astype(object).map(lambda one: None if pd.isna(one) or not str(one).strip() else str(one).strip())


def _row_name(table: pd.DataFrame, row: int) -> str:
    return repr(str(table["image"].iloc[row])) if "image" in table.columns else f"data row {row + 1}"
