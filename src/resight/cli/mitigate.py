"""`resight mitigate`: make groups alike by thresholds or calibration, or judge another model that tried."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, result_json, result_table, say
from resight.cli.group_arguments import GroupArguments
from resight.cli.results import estimate


def mitigate(
    predictions: Path,
    *,
    groups: GroupArguments,
    method: Literal["equal_sensitivity", "equalised_odds", "recalibrate"] = "equal_sensitivity",
    against: Path | None = None,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Compare gaps between groups and overall results before and after a mitigation.

    Thresholds and calibrations by group are chosen on the validation rows of the table and judged on the others.

    Args:
        predictions: predictions table of the usual model.
        groups: which groups, of which rows; a method takes one attribute, or several joined by `+`.
        method: what is made alike: sensitivity, sensitivity and false positive rate, or calibration.
        against: predictions table of another model on the same images, to be judged instead of a method.
        out: predictions table with the new decisions or probabilities.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.fairness import effects
    from resight.fairness import mitigate as mend
    from resight.predictions import Predictions

    options = groups.options()
    check_free(out, force=force)
    table = Predictions.read(predictions)
    if against is not None:
        found, result = effects(table, after := Predictions.read(against), options), {}
    else:
        done = mend(table, method, options)
        found, after, result = done.effects, done.predictions, done.to_dict()
    if out is not None:
        after.write(fresh(out, force=force))
        say(f"written: {out}")
    if as_json:
        result_json({**result, "effects": found})
        return 0
    rows = [
        (
            e.label,
            e.metric.replace("_", " "),
            *map(estimate, (e.before, e.after, e.change)),
            ", ".join(e.groups) or "none",
        )
        for e in found
    ]
    result_table(("label", "metric", "before", "after", "change", "groups that count"), rows)
    undefined = ((e.label, e.change.undefined_because) for e in found if e.change.undefined_because)
    for label, reason in dict.fromkeys(undefined):
        say(f"note: {label}: not estimable ({reason})")
    for one in result.get("thresholds", ()):
        group, note = one["group"] or "everybody", f" ({one['note']})" if one["note"] else ""
        say(f"threshold of {one['label']} for {group}: {one['threshold']:.4g}{note}")
    return 0
