"""One encoding of clinical columns for all sites, agreed by sums: no site shows a row, and none fits its own.

First every site says which columns hold numbers and which names the others hold; then come sums of the numbers, and of
their squared distances from the mean over all sites. What follows is the encoding that the pooled rows would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from resight.errors import SettingsError, TrainingError
from resight.federated.messages import Message, Transport
from resight.federated.secure_round import secure_sum
from resight.federated.settings import FederationOptions
from resight.multimodal import (
    CategoricalColumn,
    ClinicalOptions,
    NumericColumn,
    TableEncoding,
    categorical_column,
    check_named,
    numeric_column,
    read_column,
)

Sums = Float[np.ndarray, "columns 3"]
"""Of each column: rows, rows where it is known, and the sum of its numbers or of their squared distances."""
_NUMBERS, _NAMES, _NOTHING = "numbers", "names", "nothing"
_WHERE = "model.clinical"


class SiteColumns:
    """The clinical columns of a site's training rows.

    Args:
        table: training rows.
        options: which columns.
        where: the site, for messages.

    Raises:
        CohortError: a column is not there (unless absent ones count as missing), or cannot be read.
    """

    def __init__(self, table: pd.DataFrame, options: ClinicalOptions, where: str) -> None:
        check_named(options, where=_WHERE)
        self._columns = {
            name: read_column(table, name, options, where=where)
            if name in table.columns or options.absent == "error"
            else np.full(len(table), np.nan)
            for name in options.columns
        }

    def kinds(self) -> dict[str, Any]:
        """Facts of each column: numbers, nothing, or names and which."""
        return {name: _kind(values) for name, values in self._columns.items()}

    def sums(self, means: Sequence[float] | None) -> Sums:
        """Sums over the rows.

        Args:
            means: of all sites' numbers, one a column: squared distances are added up; None: the numbers themselves.
        """
        found = np.zeros((len(self._columns), 3))
        for row, values in enumerate(self._columns.values()):
            if isinstance(values, pd.Series):
                found[row] = len(values), values.notna().sum(), 0.0
                continue
            known = values[~np.isnan(values)]
            terms = known if means is None else np.square(known - means[row])
            found[row] = len(values), len(known), terms.sum()
        return found


def agree_on_columns(
    transport: Transport, names: Sequence[str], options: ClinicalOptions, federation: FederationOptions
) -> TableEncoding:
    """Ask the sites that are there, and encode for all.

    Args:
        transport: reaches the sites.
        names: of the sites.
        options: which columns, and how to treat what comes later.
        federation: number of sites needed, secure aggregation, and how long to wait.

    Raises:
        SettingsError: a column holds numbers at one site and names at another.
        CohortError: over all sites a column is empty, constant, or holds too many names.
        TrainingError: too few sites answered.
    """
    kinds = {
        name: reply.facts["columns"]
        for name, reply in _answers(transport, names, Message("columns"), federation).items()
    }
    numbers = [_numbers_in(column, {site: one[column] for site, one in kinds.items()}) for column in options.columns]
    sites = sorted(kinds)
    first = _summed(transport, sites, None, options, federation)
    means = [float(total / known) if known else 0.0 for _, known, total in first]
    squares = _summed(transport, sites, means, options, federation)
    columns: list[NumericColumn | CategoricalColumn] = []
    for place, name in enumerate(options.columns):
        rows, known = (int(np.rint(one)) for one in first[place, :2])
        if numbers[place]:
            counted, total = squares[place, 1:]  # a site may have fallen silent since
            std = float(np.sqrt(max(total, 0.0) / counted)) if counted else 0.0
            columns.append(numeric_column(name, known, rows, means[place], std, where=_WHERE))
        else:
            categories = {one for facts in kinds.values() for one in facts[name].get("names", ())}
            columns.append(categorical_column(name, categories, known, rows, where=_WHERE))
    return TableEncoding(columns=tuple(columns), unseen=options.unseen, absent=options.absent)


def _kind(values: Float[np.ndarray, " N"] | pd.Series[Any]) -> dict[str, Any]:
    if isinstance(values, pd.Series):
        return {"holds": _NAMES, "names": sorted(values.dropna().unique())}
    return {"holds": _NOTHING if np.isnan(values).all() else _NUMBERS}


def _numbers_in(column: str, kinds: Mapping[str, Mapping[str, Any]]) -> bool:
    holds = {what: [site for site, one in kinds.items() if one["holds"] == what] for what in (_NUMBERS, _NAMES)}
    if holds[_NUMBERS] and holds[_NAMES]:
        found = f"column {column!r} holds numbers at {holds[_NUMBERS][0]!r} and names at {holds[_NAMES][0]!r}"
        fix = "Correct the tables, or name it in model.clinical.categorical."
        raise SettingsError(found, where=_WHERE, fix=fix)
    return not holds[_NAMES]


def _summed(
    transport: Transport,
    names: Sequence[str],
    means: Sequence[float] | None,
    options: ClinicalOptions,
    federation: FederationOptions,
) -> Sums:
    shape = (len(options.columns), 3)
    replies = _answers(transport, names, Message("sums", facts={"means": means}), federation)
    if federation.privacy.secure_aggregation:
        found = secure_sum(
            transport,
            replies,
            {"sums": shape},
            dict.fromkeys(replies, 1.0),
            threshold=federation.privacy.threshold,
            timeout_s=federation.timeout_s,
        )
        return found.total["sums"]
    total = np.zeros(shape)
    for name, reply in replies.items():
        sums = reply.arrays.get("sums")
        if sums is None or sums.shape != shape or not np.isfinite(sums).all():
            raise TrainingError(f"the sums of {name!r} are no sums", where=_WHERE)
        total += sums
    return total


def _answers(
    transport: Transport, names: Sequence[str], request: Message, federation: FederationOptions
) -> dict[str, Message]:
    replies = transport.ask(dict.fromkeys(names, request), federation.timeout_s)
    given = {name: reply for name, reply in sorted(replies.items()) if reply.kind == request.kind}
    if len(given) < federation.min_sites:
        reasons = [str(one.facts.get("reason", "")) for one in replies.values() if one.kind == "refused"]
        where = reasons[0] if reasons else "agreeing on the clinical columns"
        raise TrainingError(f"{len(given)} sites answered", where=where, expected=f"at least {federation.min_sites}")
    return given
