"""`resight demo`: planted findings, learned offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, progress_bars, say
from resight.cli.results import show_evaluation


def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
    force: Annotated[bool, Parameter(negative="")] = False,
    smoke: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Learn planted findings on phantom images, offline, and write a report.

    Args:
        out: folder for images, run and report.
        seed: of images and training.
        force: replace `out`.
        smoke: few images and epochs, to see that everything fits together.
    """
    from resight.experiments.demo import run_demo

    with progress_bars() as progress:
        run = run_demo(fresh(out, force=force), seed=seed, small=smoke, progress=progress)
    show_evaluation(run.judged.evaluation, "test images the network has not seen")
    say(f"try: resight predict {run.folder / 'bundle'} {out / 'phantom' / 'images'} --out predictions.csv")
    print(run.folder / "report.html")
    return 0
