"""What a table says of the images that are predicted: clinical columns, groups of patients, and known outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from resight.errors import CohortError
from resight.models.manifest import Manifest
from resight.tables import require_columns
from resight.types import OUTCOME_COLUMNS


class ClinicalRows:
    """Rows of a table by the image they belong to.

    Args:
        manifest: says which columns the model reads.
        table: with the column `image`; None where there is none.

    Raises:
        CohortError: a column is not there, an image has two rows, a table is given that the model does not read, or
            none to a network that was never trained to do without.
    """

    def __init__(self, manifest: Manifest, table: pd.DataFrame | None) -> None:
        options = manifest.model.clinical
        self._encoding, self._table, self._where = manifest.encoding, table, f"clinical table of {manifest.name}"
        self._needed = options is not None and options.table_dropout == 0
        self._by_name: dict[str, int] = {}
        self._outcomes = _outcome_columns(manifest)
        rule = None if manifest.conformal is None else manifest.conformal.rule
        self._grouped_by = () if rule is None else tuple(rule.by.split("+"))
        if table is None:
            if self._needed and self._encoding is not None:
                names = ", ".join(self._encoding.names)
                raise CohortError(f"no clinical table; the model reads {names}", where=manifest.name)
            return
        if self._encoding is None and not (manifest.modalities or manifest.horizons or self._grouped_by):
            fix = "Predict without a table."
            raise CohortError("a clinical table for a model that reads none", where=manifest.name, fix=fix)
        require_columns(table, "image", *self._grouped_by, error=CohortError, where=self._where)
        if self._encoding is not None:
            self._encoding.check_columns([str(column) for column in table.columns], where=self._where)
        images = table["image"].astype(str)
        if images.duplicated().any():
            raise CohortError(f"image {images[images.duplicated()].iloc[0]!r} has two rows", where=self._where)
        short = images.map(lambda name: Path(name).name)
        alone = ~short.duplicated(keep=False)
        self._by_name = {name: row for row, name in enumerate(short) if alone.iloc[row]}
        self._by_name |= {name: row for row, name in enumerate(images)}

    def row(self, image: str) -> tuple[Float[np.ndarray, " T"] | None, bool]:
        """The encoded row of an image (None where the model reads no columns), and whether the table knows the image.

        Raises:
            CohortError: a value cannot be used, or there is no row and the network was not trained to do without.
        """
        if self._encoding is None:
            return None, True
        number = self._number(image)
        if number is None or self._table is None:
            if self._needed:
                raise CohortError(f"no row for image {image!r}", where=self._where)
            return self._encoding.nothing(), False
        return self._encoding.encode(self._table.iloc[[number]], where=self._where)[0], True

    def attributes(self, images: Sequence[str]) -> pd.DataFrame:
        """The columns that groups of sets are made of, blank for images without a row; none without a table."""
        if self._table is None or not self._grouped_by:
            return pd.DataFrame(index=range(len(images)))
        numbers = [self._number(image) for image in images]
        rows = pd.Series([-1 if number is None else number for number in numbers])
        known = self._table[[*self._grouped_by]].reset_index(drop=True)
        return known.reindex(rows).reset_index(drop=True)

    def outcomes(self, images: Sequence[str]) -> dict[str, list[Any]]:
        """Columns `time` and `event` of the images where the table has them, so that a prognosis can be judged."""
        table = self._table
        if table is None or not all(column in table.columns for column in self._outcomes.values()):
            return {}
        numbers = [self._number(image) for image in images]
        return {
            name: [np.nan if number is None else table[column].iloc[number] for number in numbers]
            for name, column in self._outcomes.items()
        }

    def _number(self, image: str) -> int | None:
        return self._by_name.get(image, self._by_name.get(Path(image).name))


def _outcome_columns(manifest: Manifest) -> Mapping[str, str]:
    """What a table calls time and event: as in the cohort that the model was trained on."""
    if not manifest.horizons:
        return {}
    trained: Mapping[str, Any] = manifest.settings.get("cohort", {})
    return {name: str(trained.get(f"{name}_column") or name) for name in OUTCOME_COLUMNS}
