"""Time to an event as labels: one a time interval, 1 where the event fell in it, 0 where it was survived, else masked.

With these labels the masked cross-entropy of independent labels is the likelihood of discrete-time hazards under right
censoring (Gensheimer & Narasimhan 2019, equations 1 and 2), so that everything that trains on labels trains on times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from resight.cohorts.columns import as_text
from resight.cohorts.options import CohortOptions
from resight.errors import CohortError
from resight.tables import require_columns

_EVENTS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "event", "dead", "died"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "censored", "alive"), False),
}

Times = Float[np.ndarray, " N"]
Events = Bool[np.ndarray, " N"]


def read_survival(table: pd.DataFrame, options: CohortOptions, where: str) -> tuple[pd.DataFrame, tuple[float, ...]]:
    """Times and events of a table, and the ends of the intervals.

    Args:
        table: with canonical columns; intervals are laid by its training rows where it names splits.
        options: `time_column`, `event_column` and `intervals`.
        where: the file, for messages.

    Returns:
        A copy with the columns `time` and `event` and one label column for each interval; the ends of the intervals.

    Raises:
        CohortError: a column is not there, a time is negative or none, an event is not marked, or there are too few.
    """
    assert options.time_column is not None
    assert options.event_column is not None
    require_columns(table, options.time_column, options.event_column, error=CohortError, where=where)
    time, event = _times(table, options.time_column, where), _events(table, options.event_column, where)
    if not event.any():
        raise CohortError(f"no event in {len(event)} rows: all are censored", where=where, expected="one or more")
    learned = (table["split"] == "train").to_numpy() if "split" in table.columns else np.ones(len(table), dtype=bool)
    horizons = _horizons(options.intervals, time[learned & event], where)
    kept = table.drop(columns=[options.time_column, options.event_column])
    labels = pd.DataFrame(interval_labels(time, event, horizons), index=table.index)
    return pd.concat([kept.assign(time=time, event=event.astype(int)), labels], axis=1), horizons


def interval_labels(time: Times, event: Events, horizons: tuple[float, ...]) -> dict[str, Float[np.ndarray, " N"]]:
    """One column for each interval: 1 the event fell in it, 0 it was survived, NaN nobody knows.

    Who is censored within an interval counts as having survived it from its middle on (section 2.2 of the paper).

    Args:
        time: of event or censoring.
        event: whether it was the event.
        horizons: ends of the intervals, rising; the first begins at 0.
    """
    columns: dict[str, Float[np.ndarray, " N"]] = {}
    for name, begin, end in zip(interval_names(horizons), (0.0, *horizons), horizons, strict=False):
        fell = event & (time <= end) & ((time > begin) | (begin == 0))
        survived = np.where(event, time > end, time >= (begin + end) / 2)
        columns[name] = np.where(fell, 1.0, np.where(survived, 0.0, np.nan))
    return columns


def interval_names(horizons: tuple[float, ...]) -> tuple[str, ...]:
    """What the labels of the intervals are called."""
    return tuple(f"event in {begin:g} to {end:g}" for begin, end in zip((0.0, *horizons), horizons, strict=False))


def _times(table: pd.DataFrame, name: str, where: str) -> Times:
    text = as_text(table[name])
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        row = int(wrong.argmax())
        found = f"time {text.iloc[row]!r} in data row {row + 1} ({int(wrong.sum())} such rows)"
        raise CohortError(found, where=f"{where}, column {name!r}", expected="a number, 0 or more")
    return values


def _events(table: pd.DataFrame, name: str, where: str) -> Events:
    text: pd.Series[Any] = as_text(table[name]).str.casefold()
    values = text.map(_EVENTS)
    wrong = values.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        found = f"{text.iloc[row]!r} in data row {row + 1} does not say whether the event came or follow-up ended"
        raise CohortError(
            f"{found} ({int(wrong.sum())} such rows)", where=f"{where}, column {name!r}", expected="1 (event) or 0"
        )
    return values.to_numpy(dtype=bool)


def _horizons(intervals: int | tuple[float, ...], times: Times, where: str) -> tuple[float, ...]:
    """Ends as given, or such that about as many events fall into each interval."""
    if isinstance(intervals, tuple):
        return intervals
    ends = np.unique(np.quantile(times, np.linspace(0, 1, intervals + 1)[1:])) if len(times) else np.empty(0)
    ends = ends[ends > 0]
    if len(ends) < 2:
        found = f"{len(times)} events of training rows at {len(ends)} different times"
        raise CohortError(found, where=where, expected="two or more", fix="Give the ends of the intervals.")
    return tuple(float(f"{end:.6g}") for end in ends)
