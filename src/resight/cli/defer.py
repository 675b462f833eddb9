"""`resight defer`: model and people together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import result_table, say
from resight.cli.reading_arguments import ReadingArguments

_USUAL = ReadingArguments()


def defer(
    predictions: Path,
    readings: Path,
    *,
    policy: str = "learned",
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    arm: str = "unaided",
    tune: str = "validation",
    test: str = "test",
    judging: ReadingArguments = _USUAL,
) -> int:
    """Decide which images the model settles and which people read, and judge the team.

    The policy is tuned on the readings of one split and judged on another; patients in both are refused.

    Args:
        predictions: predictions table with `target`, `decision` and `split`.
        readings: table with `image`, `reader` and `decision`, and `label` where there are several.
        policy: band, learned or second_reader; see `resight list`.
        option: of the policy, as `key=value`; may be given more than once.
        arm: arm of the readings; people must not have seen the model.
        tune: split the policy is tuned on.
        test: split it is judged on.
        judging: labels, resampling and output.
    """
    from resight.evidence import team_page
    from resight.settings import parse_overrides
    from resight.teaming import judge_teams

    table, opinions = judging.read(predictions, readings)
    teams = judge_teams(
        table,
        opinions,
        policy,
        parse_overrides(option or ()),
        labels=judging.label,
        arm=arm,
        tune=tune,
        test=test,
        replicates=judging.bootstrap,
        seed=judging.seed,
    )
    if judging.deliver(teams.to_list(), lambda: team_page(teams)):
        return 0
    rows = [
        (result.label, who, values["sensitivity"], values["specificity"])
        for result in teams.results
        for who, values in (*result.rates.items(), *result.differences.items())
    ]
    result_table(("label", "who", "sensitivity", "specificity"), rows, title=f"policy {policy}")
    for result in teams.results:
        say(f"{result.label}: {result.readings} readings an image, {result.read_by_nobody} settled by the model alone")
        for note in result.notes:
            say(f"note: {result.label}: {note}")
    for label, reason in teams.undefined.items():
        say(f"note: {label}: not estimable ({reason})")
    return 0
