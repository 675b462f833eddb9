"""`resight federate`: learn at several sites without pooling images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from resight.cli.console import fresh, progress_bars, result_json, result_table, say

if TYPE_CHECKING:
    from resight.federated import Audit

Overrides = Annotated[list[str] | None, Parameter("--set", negative="")]


def simulate(
    settings: Path,
    *,
    out: Path,
    set_: Overrides = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Several sites in one process, beside pooled training and each site alone.

    Args:
        settings: experiment file; `[federation]` and `[simulation]` say what is not usual.
        out: folder of the result.
        set_: overrides, for example `federation.strategy.name=fedprox`.
        resume: continue an interrupted simulation in `out`.
        force: replace what is in `out`.
        as_json: print the figures for programs.
    """
    from resight.experiments import load_experiment
    from resight.federated import FederatedSettings
    from resight.federated import simulate as run

    chosen = load_experiment(settings, set_ or [], FederatedSettings)
    if not resume:
        fresh(out, force=force)
    with progress_bars() as progress:
        found = run(chosen, out, resume=resume, progress=progress)
    if as_json:
        result_json({outcome.name: outcome.audit.to_dict() for outcome in found.outcomes})
        return 0
    rows = [row for outcome in found.outcomes for row in _rows(outcome.name, outcome.audit)]
    result_table(("training", "label", "pooled AUROC", "worst site", "its AUROC"), rows, title=chosen.name)
    for outcome in found.outcomes:
        for refusal in outcome.history.refusals:
            say(f"{outcome.name}, round {refusal['round'] + 1}: {refusal['refused']}: {refusal['reason']}")
    say(f"figures: {out / 'federation.json'}")
    return 0


def _rows(title: str, audit: Audit) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for one in audit.pooled:
        if one.group != "everyone":
            continue
        worst = audit.worst.get(one.label, {})
        value = worst.get("auroc", {}).get("value")
        auroc = one.evaluation.labels[0].metrics["auroc"]
        rows.append((title, one.label, auroc, worst.get("site", "-"), f"{value:.3f}" if value is not None else "-"))
    return rows
