"""`resight claims`: can the figures that a publication reports be true together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import result_json, result_table


def check(file: Path | None = None, *, as_json: Annotated[bool, Parameter("--json", negative="")] = False) -> int:
    """Check reported figures by arithmetic alone.

    Consistent means that some outcome gives exactly these figures, not that they are right.

    Args:
        file: TOML file with `[[claims]]`; the figures of the review this project starts from when not given.
        as_json: print the verdicts for programs.
    """
    from resight.evaluation.claims import check_claims

    verdicts = check_claims(file)
    if as_json:
        result_json(verdicts)
        return 0
    rows = [(one.id, one.verdict, one.statement, one.source, one.explanation) for one in verdicts]
    result_table(("claim", "verdict", "what is claimed", "by whom", "why"), rows)
    return 0
