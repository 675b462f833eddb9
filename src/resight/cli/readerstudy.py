"""`resight readerstudy ...`: plan a reader study and analyse it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, result_json, result_table, say

Json = Annotated[bool, Parameter("--json", negative="")]
Flag = Annotated[bool, Parameter(negative="")]
Names = Annotated[list[str], Parameter(negative="")]


def design(
    predictions: Path,
    *,
    readers: Names,
    out: Path,
    split: str | None = None,
    kind: str = "crossover",
    washout_days: int = 28,
    seed: int = 0,
    force: Flag = False,
) -> int:
    """Write who reads what, when, in which arm and order.

    Readers fill in `rating` (how sure they are, any scale), `decision` (0 or 1) and `seconds`.

    Args:
        predictions: predictions table or any table with `image` and `label`; its images are the cases.
        readers: name of a reader; given once for each.
        out: CSV or Parquet file.
        split: cases of this split alone.
        kind: crossover (two sessions with a wash-out), unaided_first (all cases unaided, then all aided after the
            wash-out) or sequential (unaided, then aided at once).
        washout_days: days between two sessions.
        seed: another seed gives other orders.
        force: replace `out`.
    """
    from resight.errors import PredictionsError
    from resight.settings import validate
    from resight.tables import read_table, write_table
    from resight.teaming import StudyOptions, design_study

    given = {"readers": readers, "kind": kind, "washout_days": washout_days, "seed": seed}
    options = validate(StudyOptions, given, where="command line")
    table = read_table(predictions, error=PredictionsError, text_columns=("image", "label"))
    for column in ("image", "label", *(("split",) if split else ())):
        if column not in table.columns:
            raise PredictionsError(f"no column {column!r}", where=str(predictions))
    kept = table if split is None else table.loc[table["split"] == split]
    plan = design_study(list(kept["image"].unique()), list(kept["label"].unique()), options)
    write_table(plan, fresh(out, force=force))
    say(f"{len(plan)} readings by {len(readers)} readers: {out}")
    return 0


def analyse(
    readings: Path,
    predictions: Path,
    *,
    label: Annotated[list[str] | None, Parameter(name="--label", negative="")] = None,
    bootstrap: int = 1000,
    seed: int = 0,
    report: Path | None = None,
    out: Path | None = None,
    force: Flag = False,
    as_json: Json = False,
) -> int:
    """Compare the arms of a reader study for other readers and other cases.

    Args:
        readings: table with `image`, `reader`, `arm`, and `rating` or `decision`.
        predictions: predictions table with the reference standard in `target` and the model's decisions.
        label: analyse these alone; may be given more than once.
        bootstrap: replicates by patient, for kappa.
        seed: of the bootstrap.
        report: also write an HTML page there.
        out: also write all figures there, as JSON.
        force: replace `report` and `out`.
        as_json: print the result for programs.
    """
    from resight.evidence import study_page, write_page
    from resight.predictions import Predictions
    from resight.settings import write_json
    from resight.teaming import Readings, analyse_study

    table = Predictions.read(predictions)
    only = table.labels[0] if len(table.labels) == 1 else "label"
    joined = Readings.read(readings, only_label=only).with_reference(table)
    results = [analyse_study(joined, name, replicates=bootstrap, seed=seed) for name in label or joined.labels]
    if report is not None:
        write_page(fresh(report, force=force), study_page(results))
        say(f"written: {report}")
    if out is not None:
        write_json(fresh(out, force=force), [result.to_dict() for result in results])
        say(f"written: {out}")
    if as_json:
        result_json([result.to_dict() for result in results])
        return 0
    rows = [
        (
            result.label,
            figure,
            f"{result.arms[later]} - {result.arms[earlier]}",
            test.generalises_to,
            value,
            f"{test.p:.4f}",
        )
        for result in results
        for figure, found in result.figures.items()
        for test in found.tests
        for (earlier, later), value in test.differences.items()
    ]
    result_table(("label", "figure", "difference", "for other", "value", "p"), rows)
    for result in results:
        for name, value in result.agreement.items():
            say(f"{result.label}: kappa {name}: {value}")
        for name, reason in result.undefined.items():
            say(f"note: {result.label}, {name}: {reason}")
    return 0
