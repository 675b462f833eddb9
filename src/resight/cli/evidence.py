"""`resight evidence`: what an auditor asks for, from a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, result_json, result_table, say

Flag = Annotated[bool, Parameter(negative="")]


def evidence(
    run: Path,
    *,
    out: Path,
    answers: Path | None = None,
    risks: Path | None = None,
    force: Flag = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Gather what an auditor asks for from a finished run, and say what is missing.

    Args:
        run: run folder; its figures must be what its predictions give.
        out: folder of the pack.
        answers: TOML with what only people know; `answers.toml` of an earlier pack, filled in.
        risks: YAML (or TOML) with the hazards; `risks.yaml` of an earlier pack, edited.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.experiments.pack import write_pack

    check_free(out, force=force)  # answers may lie in the pack that is replaced, so it stays until the new one is there
    pack = write_pack(run, out, answers=answers, risks=risks, replace=force)
    for note in pack.notes:
        say(f"note: {note}")
    if as_json:
        result_json({"missing": pack.missing, "total_missing": pack.total_missing, "files": pack.files})
    else:
        rows = [(part, count, of or "") for part, (count, of) in pack.missing.items()]
        result_table(("part", "missing", "of"), rows, title=f"{pack.total_missing} entries are missing")
        say(f"written: {out / 'evidence.html'}")
    return 0
