"""`resight monitor`: are incoming cases still those a model was judged on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, deliver, result_table, say
from resight.cli.results import p_value
from resight.errors import BundleError

if TYPE_CHECKING:  # they bring pandas, which --help does not need
    from resight.monitoring import Reference, Watch


def monitor(
    reference: Path,
    predictions: Annotated[list[Path], Parameter(negative="")],
    *,
    alpha: float = 0.01,
    min_cases: int = 20,
    seed: int = 0,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Compare incoming predictions with what a model was judged on; the exit code is 10 when they drifted.

    Args:
        reference: bundle, folder of the run that made it, reference as JSON, or the predictions table of a run.
        predictions: tables of incoming cases in the order they arrived.
        alpha: chance of a false alarm, however long a watch goes on: of the cases, and of the outcomes where some have
            arrived.
        min_cases: fewer known values of a column are not tested.
        seed: of permutations and of draws that break ties.
        out: alert file, as JSON; written with and without an alarm.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.monitoring import ALARM_EXIT, MonitorOptions
    from resight.monitoring import monitor as watch
    from resight.predictions import Predictions
    from resight.settings import validate

    given = {"alpha": alpha, "min_cases": min_cases, "seed": seed}
    options = validate(MonitorOptions, given, where="command line")
    check_free(out, force=force)
    remembered = _reference(reference)
    found = watch(remembered, [Predictions.read(path) for path in predictions], options)
    if not deliver(found.to_dict(), out=out, force=force, as_json=as_json):
        _show(found)
    return ALARM_EXIT if found.drifted else 0


def _reference(path: Path) -> Reference:
    from resight.monitoring import Reference, read_reference
    from resight.settings import validate

    if not path.is_dir():
        return read_reference(path)
    from resight.cli.predict import bundle_folder
    from resight.models import load_bundle

    folder = bundle_folder(path)
    manifest = load_bundle(folder).manifest
    if manifest.reference is None:
        fix = "Give the predictions table of the run that made it."
        raise BundleError("the bundle carries no reference to compare with", where=str(folder), fix=fix)
    return validate(Reference, manifest.reference, where=str(folder))


def _show(found: Watch) -> None:
    rows = [
        (
            one.column,
            one.test or one.undefined_because,
            f"{one.size:.3f}" if one.test else "",
            f"{one.psi:.3f}" if one.psi == one.psi else "",
            p_value(one.p),
            p_value(one.p_holm),
            "drift" if one.drifted else "",
        )
        for one in found.drifts
    ]
    title = f"{found.images} images, {found.cases} cases, {found.failed} without a score"
    result_table(("column", "test", "size", "PSI", "p", "p (Holm)", ""), rows, title=title)
    alarm = found.alarm
    if alarm.case is None:
        say(f"watch: no alarm in {found.cases} cases (capital at most {alarm.capital:.1f} of {alarm.limit:g})")
    else:
        say(f"watch: ALARM at case {alarm.case} (false alarm at most {found.alpha:g}): {', '.join(alarm.columns)}")
    if found.outcomes is not None:
        alarm, seen = found.outcomes.alarm, len(found.outcomes.course)
        if alarm.case is None:
            say(f"outcomes: no alarm in {seen} (capital at most {alarm.capital:.1f} of {alarm.limit:g})")
        else:
            say(
                f"outcomes: ALARM at outcome {alarm.case} of {seen} (false alarm at most {found.alpha:g}): "
                f"{', '.join(alarm.columns)}"
            )
    for note in found.notes:
        say(f"note: {note}")
