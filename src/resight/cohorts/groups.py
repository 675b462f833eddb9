"""Which images must stay together: rows that share a patient, a cluster of near-duplicates, or any other key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from resight.cohorts.columns import as_text
from resight.errors import CohortError, LeakError, nearest
from resight.tables import read_table, require_columns
from resight.types import Cohort, PerSample

NO_GROUP = "none"


def group_names(cohort: Cohort, group: Sequence[str], clusters: Path | None = None) -> PerSample:
    """One name per row; rows with the same name belong together.

    Args:
        cohort: the images.
        group: columns to keep together; rows that share a value of any of them are joined, also through third rows.
            `("none",)` makes every image its own group.
        clusters: table with the columns `image` and `cluster`, as the leak check writes it; joined as one more key.

    Returns:
        The smallest image name of each row's group, so that names do not depend on the order of rows.

    Raises:
        LeakError: a column is missing or has blanks, and the user did not ask for `none`.
        CohortError: the clusters file does not fit the cohort.
    """
    keys = [_column(cohort, name) for name in group if name != NO_GROUP]
    if clusters is not None:
        keys.append(_cluster_column(cohort, clusters))
    images = cohort.table["image"].astype(str)
    if not keys:
        return images.to_numpy(dtype=object)
    rows = pd.DataFrame({"image": images, "component": components([pd.factorize(key)[0] for key in keys])})
    smallest = rows.sort_values("image").drop_duplicates("component").set_index("component")["image"]
    return rows["component"].map(smallest).to_numpy(dtype=object)


def components(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Number of the connected component of each row, when rows that share a code of any key are connected.

    Args:
        keys: one array `(N,)` of codes 0, 1, ... per key.
    """
    if len(keys) == 1:
        return keys[0]
    count = len(keys[0])
    offsets = np.cumsum([count, *(int(key.max(initial=-1)) + 1 for key in keys)])
    ends = np.concatenate([key + offset for key, offset in zip(keys, offsets, strict=False)])
    rows = np.tile(np.arange(count), len(keys))
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, ends)), shape=(offsets[-1], offsets[-1]))
    return connected_components(graph, directed=False)[1][:count]


def _column(cohort: Cohort, name: str) -> pd.Series[str]:
    refuse = (
        "Give a column, a patient_pattern or a clusters file that keeps a patient's images together, or say --group "
        f"{NO_GROUP} (in an experiment file: split.group = '{NO_GROUP}')."
    )
    if name not in cohort.table:
        columns = [c for c in map(str, cohort.table.columns) if c not in cohort.labels]
        hint = nearest(name, columns) if name != "patient_id" else ""
        raise LeakError(
            f"no column {name!r}: nobody can tell which images belong to one patient",
            where=cohort.name,
            fix=f"{refuse} {hint}".strip(),
        )
    values = as_text(cohort.table[name])
    if blank := int((values == "").sum()):
        raise LeakError(f"{blank} images have no {name}", where=cohort.name, fix=refuse)
    return values


def _cluster_column(cohort: Cohort, path: Path) -> pd.Series[str]:
    table = read_table(path, error=CohortError, text_columns=("image", "cluster"))
    require_columns(table, "image", "cluster", error=CohortError, where=str(path))
    if table["image"].duplicated().any():
        raise CohortError("an image is listed twice", where=str(path))
    found = cohort.table["image"].map(table.set_index("image")["cluster"])
    if missing := int(found.isna().sum()):
        raise CohortError(f"{missing} images of {cohort.name} have no cluster", where=str(path))
    return as_text(found)
