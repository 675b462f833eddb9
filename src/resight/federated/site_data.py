"""The images of one site, and the rows of its table that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from resight.experiments.prepare import Prepared
from resight.multimodal import TableEncoding
from resight.training.data import TrainingData
from resight.types import Cohort, RowMask


@dataclass(frozen=True)
class SiteData:
    """Images of one site, by split; `cohorts` holds the table rows in the same order."""

    samples: Mapping[str, TrainingData]
    cohorts: Mapping[str, Cohort]

    @classmethod
    def of(cls, prepared: Prepared, rows: RowMask | None = None) -> SiteData:
        """The images of a prepared cohort, or those where `rows` is true."""
        inside = np.ones(len(prepared.cohort), dtype=bool) if rows is None else rows
        keep = {split: prepared.in_split(split) & inside for split in ("train", "validation", "test")}
        samples = {split: prepared.samples(mask) for split, mask in keep.items()}
        return cls(samples, {split: prepared.cohort.rows(mask) for split, mask in keep.items()})

    def encoded(self, encoding: TableEncoding, where: str) -> SiteData:
        """The same with clinical columns as the sites have agreed on.

        Raises:
            CohortError: a name that no site had when they agreed.
        """
        tables = {split: encoding.encode(cohort.table, where=where) for split, cohort in self.cohorts.items()}
        return replace(self, samples={split: replace(one, table=tables[split]) for split, one in self.samples.items()})

    @property
    def cohort(self) -> Cohort:
        """The training images' rows, for labels and task."""
        return self.cohorts["train"]
