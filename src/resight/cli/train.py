"""`resight train`: run an experiment file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, progress_bars, result_json, say
from resight.cli.results import show_evaluation, show_inputs, show_prognosis


def train(
    settings: Path,
    *,
    out: Path,
    set_: Annotated[list[str] | None, Parameter("--set", negative="")] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    smoke: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Run an experiment file: split, train, calibrate, evaluate, bundle, report.

    Args:
        settings: experiment file (TOML), as `resight plan` writes it.
        out: run folder.
        set_: overrides, for example `training.epochs=3`.
        resume: continue an interrupted run in `out`.
        force: replace what is in `out`.
        smoke: one epoch on small images, to see that everything fits together.
        as_json: print the figures for programs.
    """
    from resight.experiments import load_experiment, train_experiment
    from resight.experiments import smoke as smoke_run

    chosen = load_experiment(settings, set_ or [])
    if smoke:
        chosen = smoke_run(chosen)
    if not resume:
        fresh(out, force=force)
    with progress_bars() as progress:
        run = train_experiment(chosen, out, resume=resume, progress=progress)
    if as_json:
        found = {"prognosis": run.judged.prognosis, "inputs": run.inputs}
        result_json(run.judged.evaluation.to_dict() | {k: v.to_dict() for k, v in found.items() if v is not None})
    else:
        show_evaluation(run.judged.evaluation, f"{run.prepared.cohort.name}, {run.judged.evaluated_on} images")
        if run.judged.prognosis is not None:
            show_prognosis(run.judged.prognosis)
        if run.inputs is not None:
            show_inputs(run.inputs)
    for note in run.judged.notes:
        say(f"validation: {note}")
    say(f"report: {run.folder / 'report.html'}")
    say(f"bundle: {run.folder / 'bundle'}")
    return 0
