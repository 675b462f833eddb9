"""What the verbs about readings share: which labels, how often resampled, and where the results go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from resight.cli.console import check_free, deliver, fresh, say

if TYPE_CHECKING:
    from resight.evidence import Page
    from resight.predictions import Predictions
    from resight.teaming import Readings


@Parameter(name="*")
@dataclass(frozen=True)
class ReadingArguments:
    """How readings are judged.

    Attributes:
        label: judge these alone; may be given more than once.
        bootstrap: replicates by patient.
        seed: of the bootstrap.
        report: also write an HTML page there.
        out: also write all figures there, as JSON.
        force: replace `report` and `out`.
        as_json: print the result for programs.
    """

    label: Annotated[list[str] | None, Parameter(name="--label", negative="")] = None
    bootstrap: Annotated[int, Parameter(name="--bootstrap")] = 1000
    seed: Annotated[int, Parameter(name="--seed")] = 0
    report: Annotated[Path | None, Parameter(name="--report")] = None
    out: Annotated[Path | None, Parameter(name="--out")] = None
    force: Annotated[bool, Parameter(name="--force", negative="")] = False
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False

    def read(self, predictions: Path, readings: Path) -> tuple[Predictions, Readings]:
        """Both tables, after a look at where the results shall go.

        Raises:
            PredictionsError: one of them is none.
            OutputError: `report` or `out` is taken.
        """
        from resight.predictions import Predictions
        from resight.teaming import Readings

        check_free(self.report, self.out, force=self.force)
        table = Predictions.read(predictions)
        return table, Readings.beside(readings, table.labels)

    def deliver(self, results: list[dict[str, Any]], page: Callable[[], Page]) -> bool:
        """Write what was asked for; whether the result was printed for programs.

        Args:
            results: plain values for JSON.
            page: makes the HTML page.
        """
        from resight.evidence import write_page

        if self.report is not None:
            write_page(fresh(self.report, force=self.force), page())
            say(f"written: {self.report}")
        return deliver(results, out=self.out, force=self.force, as_json=self.as_json)
