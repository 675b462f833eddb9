"""`resight pretrain`: backbone weights from images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, progress_bars, result_json, say


def pretrain(
    settings: Path,
    *,
    out: Path,
    set_: Annotated[list[str] | None, Parameter("--set", negative="")] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Teach a backbone on the training split's images alone (SimSiam); the weights are for `model.weights`.

    Two random views of an image shall have like features, so the experiment's augmentation decides what is learned to
    be of no account: crops and contrast usually, never what the labels depend on.

    Args:
        settings: experiment file (TOML) with backbone, augmentation and training options.
        out: folder for `backbone.safetensors` and the record.
        set_: overrides, for example `augmentation.crop=0.4`.
        resume: continue an interrupted run in `out`.
        force: replace what is in `out`.
        as_json: print the course of training for programs.
    """
    from dataclasses import asdict

    from resight.experiments import load_experiment, pretrain_experiment

    chosen = load_experiment(settings, set_ or [])
    if not resume:
        fresh(out, force=force, resumable=True)
    with progress_bars() as progress:
        found = pretrain_experiment(chosen, out, resume=resume, progress=progress)
    if as_json:
        result_json(asdict(found))
        return 0
    say(f"similarity of views {found.similarity[-1]:.3f}, spread of images {found.spread[-1]:.2f} (0: collapsed)")
    weights = out / "backbone.safetensors"
    say(f"Start from them with --set model.weights={weights}")
    print(weights)
    return 0
