"""`resight defer`: model and people together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, result_json, result_table, say


def defer(
    predictions: Path,
    readings: Path,
    *,
    policy: str = "learned",
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    label: Annotated[list[str] | None, Parameter(name="--label", negative="")] = None,
    arm: str = "unaided",
    tune: str = "validation",
    test: str = "test",
    bootstrap: int = 1000,
    seed: int = 0,
    report: Path | None = None,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Decide which images the model settles and which people read, and judge the team.

    The policy is tuned on the readings of one split and judged on another; patients in both are refused.

    Args:
        predictions: predictions table with `target`, `decision` and `split`.
        readings: table with `image`, `reader` and `decision`, and `label` where there are several.
        policy: band, learned or second_reader; see `resight list`.
        option: of the policy, as `key=value`; may be given more than once.
        label: judge these alone; may be given more than once.
        arm: arm of the readings; people must not have seen the model.
        tune: split the policy is tuned on.
        test: split it is judged on.
        bootstrap: replicates by patient.
        seed: of the bootstrap.
        report: also write an HTML page there.
        out: also write all figures there, as JSON.
        force: replace `report` and `out`.
        as_json: print the result for programs.
    """
    from resight.evidence import team_page, write_page
    from resight.predictions import Predictions
    from resight.settings import parse_overrides, write_json
    from resight.teaming import Readings, build_policy, evaluate_team, label_cases

    table = Predictions.read(predictions)
    only = table.labels[0] if len(table.labels) == 1 else "label"
    opinions = Readings.read(readings, only_label=only)
    tuning, judged = (opinions.with_reference(table.part(split=split)) for split in (tune, test))
    options = parse_overrides(option or ())
    results = [
        evaluate_team(
            build_policy(policy, **options),
            policy,
            label_cases(tuning, name, arm),
            label_cases(judged, name, arm),
            name,
            replicates=bootstrap,
            seed=seed,
        )
        for name in label or judged.labels
    ]
    if report is not None:
        write_page(fresh(report, force=force), team_page(results))
        say(f"written: {report}")
    if out is not None:
        write_json(fresh(out, force=force), [result.to_dict() for result in results])
        say(f"written: {out}")
    if as_json:
        result_json([result.to_dict() for result in results])
        return 0
    rows = [
        (result.label, who, values["sensitivity"], values["specificity"])
        for result in results
        for who, values in (*result.rates.items(), *result.differences.items())
    ]
    result_table(("label", "who", "sensitivity", "specificity"), rows, title=f"policy {policy}")
    for result in results:
        say(f"{result.label}: {result.readings} readings an image, {result.read_by_nobody} settled by the model alone")
        for note in result.notes:
            say(f"note: {note}")
    return 0
