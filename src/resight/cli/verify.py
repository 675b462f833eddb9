"""`resight verify`: has anything changed since it was made?"""

from __future__ import annotations

from pathlib import Path

from resight.cli.console import say
from resight.cli.predict import bundle_folder


def verify(path: Path) -> int:
    """Recompute the checksums of a bundle or the figures of a run.

    Args:
        path: bundle, or run folder; of a run, the evaluation is computed again from its predictions.
    """
    from resight.errors import BundleError
    from resight.experiments.verify import verify_run
    from resight.models import verify_bundle

    problems = verify_bundle(bundle_folder(path))
    checked = "bundle"
    if (path / "metrics.json").is_file():
        problems += verify_run(path)
        checked = "bundle and figures"
    if problems:
        for problem in problems[1:]:
            say(problem)
        raise BundleError(problems[0], where=str(path))
    print(f"{checked} unchanged: {path}")
    return 0
