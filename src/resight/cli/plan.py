"""`resight plan`: an experiment file with reasons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.cohort_arguments import CohortArguments
from resight.cli.console import check_free, fresh, say


def plan(
    cohort: CohortArguments,
    *,
    out: Path | None = None,
    minutes: float = 15.0,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Look at a cohort and this machine; write an experiment file with reasons.

    Args:
        cohort: which images and labels.
        out: experiment file (TOML); the terminal when not given.
        minutes: training time to aim at, for one network on this machine.
        force: replace `out`.
    """
    from resight.experiments import plan_experiment

    check_free(out, force=force)
    text, _ = plan_experiment(cohort.options(), minutes)
    if out is None:
        sys.stdout.write(text)
    else:
        fresh(out, force=force).write_text(text, encoding="utf-8")
        say(f"written: {out}; run it with: resight train {out} --out RUN")
    return 0
