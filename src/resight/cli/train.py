"""`resight train`: run an experiment file."""

from __future__ import annotations

import os
from contextlib import nullcontext
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
    processes: int = 1,
    restarts: int = 0,
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
        processes: train in so many processes on this machine; on several machines start each with torchrun.
        restarts: how often all processes begin again from the last checkpoint when one dies.
        as_json: print the figures for programs.
    """
    from resight.experiments import launch, load_experiment, train_experiment
    from resight.experiments import smoke as smoke_run
    from resight.training.distributed import process_group
    from resight.training.distributed import restarts as begun_again
    from resight.types import silent

    chosen = load_experiment(settings, set_ or [])
    if smoke:
        chosen = smoke_run(chosen)
    among_others = int(os.environ.get("WORLD_SIZE", "1")) > 1
    resume = resume or begun_again() > 0
    if not resume and not among_others:
        fresh(out, force=force, resumable=True)
    if processes > 1 and not among_others:
        words = [str(settings), "--out", str(out), *(word for one in set_ or () for word in ("--set", one))]
        flags = [*(["--smoke"] if smoke else []), *(["--json"] if as_json else [])]
        launch([*words, *flags], processes, out, restarts=restarts, resume=resume, say=say)
        return 0
    with process_group() as mine, progress_bars() if mine.leads else nullcontext(silent) as progress:
        run = train_experiment(chosen, out, resume=resume, progress=progress)
    if not mine.leads:
        return 0
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
