"""`resight worklist`: would urgent reports come sooner?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, result_json, result_table, say


def worklist(
    predictions: Path,
    *,
    label: str | None = None,
    split: str | None = None,
    arrivals: float = 12.0,
    readers: int = 2,
    minutes: float = 8.0,
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    report: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Simulate a reading room with and without sorting by the model's answer.

    Args:
        predictions: predictions table with `target` and `decision`; studies are drawn from it.
        label: the finding that makes a study urgent; needed where the table has several.
        split: rows to draw from; all that are known when not given.
        arrivals: studies per hour.
        readers: people who read at the same time.
        minutes: mean minutes a reading takes.
        option: others of the room, as `key=value`, for example `prevalence=0.05`; may be given more than once.
        report: also write an HTML page there.
        force: replace `report`.
        as_json: print the result for programs.
    """
    from resight.evidence import worklist_page, write_page
    from resight.predictions import Predictions
    from resight.settings import parse_overrides, validate
    from resight.teaming import WorklistOptions, simulate_worklist, studies

    given = {"arrivals_per_h": arrivals, "readers": readers, "reading_min": minutes, **parse_overrides(option or ())}
    options = validate(WorklistOptions, given, where="command line")
    check_free(report, force=force)
    table = Predictions.read(predictions)
    drawn = studies(table if split is None else table.part(split=split), label)
    result = simulate_worklist(drawn, options)
    if report is not None:
        write_page(fresh(report, force=force), worklist_page(result, f"Worklist sorted by {drawn.label}"))
        say(f"written: {report}")
    if as_json:
        result_json(result.to_dict())
        return 0
    rows = [
        (one.order, *(_minutes(v) for v in (one.urgent_min, one.urgent_p90_min, one.missed_urgent_min, one.other_min)))
        for one in result.waiting
    ]
    head = ("order", "urgent", "urgent, 90 %", "urgent, not flagged", "others")
    result_table(head, rows, title=f"minutes to the report; readers busy {result.utilisation:.0%}")
    for order, saved in result.saved_min.items():
        say(
            f"{order}: urgent reports {_minutes(saved)} minutes sooner, others {_minutes(result.cost_min[order])} later"
        )
    return 0


def _minutes(value: object) -> str:
    from resight.types import MetricValue

    assert isinstance(value, MetricValue)
    if value.undefined_because:
        return str(value)
    return f"{value.value:.1f} ({value.low:.1f} to {value.high:.1f})"
