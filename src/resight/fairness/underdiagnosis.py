"""Who is called healthy and is not: the underdiagnosis rate of Seyyed-Kalantari et al. (Nature Medicine 2021).

Where a label says that nothing was found, it is that label's FPR; otherwise the share of images with at least one
finding on which none is called: the FNR of any finding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from resight.evaluation.proportions import proportion
from resight.fairness.cases import AuditCases
from resight.fairness.measures import few_patients
from resight.fairness.options import AuditOptions
from resight.types import MetricValue


@dataclass(frozen=True)
class Underdiagnosis:
    """Which of N images show something, and on which of all it was missed."""

    ill: Bool[np.ndarray, " N"]
    missed: Bool[np.ndarray, " N"]

    def rate(self, rows: Bool[np.ndarray, " N"], patients: Int[np.ndarray, " N"], options: AuditOptions) -> MetricValue:
        """Share missed among `rows`, which must be ill."""
        if reason := few_patients(patients[rows], "a finding", options.min_events):
            return MetricValue.undefined(reason, int(rows.sum()))
        return proportion(self.missed[rows], patients[rows], confidence=options.confidence)


def underdiagnosis(cases: AuditCases, healthy: str) -> Underdiagnosis | None:
    """Find the ill and the missed; None without decisions.

    Args:
        cases: the rows.
        healthy: label that says that nothing was found; looked for without regard to case and blanks.
    """
    if cases.decisions is None:
        return None
    columns = {_plain(label): column for column, label in enumerate(cases.labels)}
    if (column := columns.get(_plain(healthy))) is not None:
        called = cases.decisions[:, column]
        return Underdiagnosis(cases.mask[:, column] & (cases.targets[:, column] == 0) & ~np.isnan(called), called == 1)
    known = cases.mask & ~np.isnan(cases.decisions)
    ill = (known & (cases.targets == 1)).any(axis=1)
    return Underdiagnosis(ill, ~(known & (cases.decisions == 1)).any(axis=1))


def _plain(label: str) -> str:
    return "".join(c for c in label.casefold() if c.isalnum())
