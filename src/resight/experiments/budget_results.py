"""What came of every way to run a network for less work, and what the report shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resight.evaluation import Budgets, GroupChange
from resight.evidence import BudgetLine
from resight.settings import plain
from resight.types import MetricValue


@dataclass(frozen=True)
class ExitRow:
    """Images that left at one place.

    Attributes:
        name: of the exit, or `last`.
        images: that left there.
        brier: of the whole network's probabilities on those images, the mean over labels: how difficult they are.
    """

    name: str
    images: int
    brier: MetricValue


@dataclass(frozen=True)
class BudgetResult:
    """One way to run the network, on held-out images.

    Attributes:
        share: of the whole network's FLOPs, mean over the images.
        auroc: mean over labels; None where it is not defined.
        change: AUROC against the whole network, with a paired interval.
        seconds: median for one image alone; NaN where none was timed.
        exits: who left where.
        groups: sensitivity at the first operating point, against the whole network's.
        falls: groups whose sensitivity fell on the validation images, one sentence each.
        refused: whether the model refuses it because of them.
    """

    share: float
    auroc: float | None
    change: MetricValue
    seconds: float
    exits: tuple[ExitRow, ...]
    groups: tuple[GroupChange, ...]
    falls: tuple[str, ...]
    refused: bool


@dataclass(frozen=True)
class BudgetStudy:
    """What the bundle keeps, and what came of it on held-out images.

    Attributes:
        budgets: for the manifest.
        results: one a point.
        whole_auroc: of the network as it is without a budget.
        whole_seconds: median for one image alone.
        judged_on: `test` or `validation`.
    """

    budgets: Budgets
    results: tuple[BudgetResult, ...]
    whole_auroc: float | None
    whole_seconds: float
    judged_on: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return plain({key: value for key, value in vars(self).items() if key != "budgets"})


def budget_lines(study: BudgetStudy | None) -> tuple[BudgetLine, ...]:
    """What the report shows of a study."""
    if study is None:
        return ()
    whole = BudgetLine("no budget", 1.0, study.whole_auroc, None, study.whole_seconds, (), ())
    lines = [
        BudgetLine(
            f"{point.share:.2f}" + (" (refused)" if found.refused else ""),
            found.share,
            found.auroc,
            found.change,
            found.seconds,
            tuple((row.name, row.images, row.brier) for row in found.exits),
            tuple(str(group) for group in found.groups if group.high is not None and group.high < 0),
        )
        for point, found in zip(study.budgets.points, study.results, strict=True)
    ]
    return (whole, *lines)
