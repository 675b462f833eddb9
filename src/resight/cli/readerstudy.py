"""`resight readerstudy ...`: plan a reader study and analyse it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, result_table, say
from resight.cli.reading_arguments import ReadingArguments
from resight.cli.results import p_value

_USUAL = ReadingArguments()
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
    from resight.tables import read_table, require_columns, write_table
    from resight.teaming import StudyOptions, design_study

    given = {"readers": readers, "kind": kind, "washout_days": washout_days, "seed": seed}
    options = validate(StudyOptions, given, where="command line")
    check_free(out, force=force)
    table = read_table(predictions, error=PredictionsError, text_columns=("image", "label"))
    needed = ("image", "label", *(("split",) if split else ()))
    require_columns(table, *needed, error=PredictionsError, where=str(predictions))
    kept = table if split is None else table.loc[table["split"] == split]
    plan = design_study(list(kept["image"].unique()), list(kept["label"].unique()), options)
    write_table(plan, fresh(out, force=force))
    say(f"{len(plan)} readings by {len(readers)} readers: {out}")
    return 0


def analyse(readings: Path, predictions: Path, *, judging: ReadingArguments = _USUAL) -> int:
    """Compare the arms of a reader study for other readers and other cases.

    Args:
        readings: table with `image`, `reader`, `arm`, and `rating` or `decision`.
        predictions: predictions table with the reference standard in `target` and the model's decisions.
        judging: labels, resampling (of kappa) and output.
    """
    from resight.evidence import study_page
    from resight.teaming import analyse_study

    table, opinions = judging.read(predictions, readings)
    joined = opinions.with_reference(table)
    results = [
        analyse_study(joined, name, replicates=judging.bootstrap, seed=judging.seed)
        for name in judging.label or joined.labels
    ]
    if judging.deliver([result.to_dict() for result in results], lambda: study_page(results)):
        return 0
    rows = [
        (
            result.label,
            figure,
            f"{result.arms[later]} - {result.arms[earlier]}",
            test.generalises_to,
            value,
            p_value(test.p),
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
        for figure, found in result.figures.items():
            for test in found.tests:
                if test.undefined_because:
                    what = f"{result.label}, {figure}, for other {test.generalises_to}"
                    say(f"note: {what}: not estimable ({test.undefined_because})")
        for name, reason in result.undefined.items():
            say(f"note: {result.label}, {name}: not estimable ({reason})")
    return 0
