"""`resight reproduce`: run a cited study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, progress_bars, result_table, say


def reproduce(
    study: str,
    *,
    data: Path | None = None,
    out: Path,
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    smoke: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a cited study and put the published figures beside ours.

    Args:
        study: chestxray14, isic2017, brain or degradation.
        data: folder of the data set.
        out: folder for runs and the study page.
        option: any option of the study, for example `seeds=5`.
        resume: go on with what is not finished in `out`.
        force: replace what is in `out`.
        smoke: few images and epochs, to see that everything fits together.
    """
    from resight.protocols import PROTOCOLS, Surroundings, write_study
    from resight.settings import parse_overrides

    if not resume:
        fresh(out, force=force, resumable=True)
    with progress_bars() as progress:
        surroundings = Surroundings(data=data or Path(), out=out, smoke=smoke, progress=progress)
        found = PROTOCOLS.build(study, parse_overrides(option or []), surroundings=surroundings)
    write_study(out, found)
    for heading, rows in found.tables.items():
        cells = [
            (row.what, row.metric, row.ours or row.absent, "; ".join(f.text for f in row.published)) for row in rows
        ]
        result_table(("method", "metric", "ours", "published"), cells, title=heading)
    for sentence in found.conclusions:
        say(sentence)
    print(out / "study.md")
    return 0
