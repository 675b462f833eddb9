"""`resight verify`: has anything changed since it was made?"""

from __future__ import annotations

from pathlib import Path

from resight.cli.console import say
from resight.cli.predict import bundle_folder


def verify(path: Path, *, public_key: Path | None = None) -> int:
    """Recompute checksums, signatures and figures of a bundle, a run or an evidence pack.

    Args:
        path: bundle, run folder or evidence pack; of run and pack every figure is computed again from the predictions.
        public_key: key that must have signed; whatever is not signed by it fails.
    """
    from resight.errors import BundleError
    from resight.experiments.pack import PACK_FILE, verify_pack
    from resight.experiments.verify import verify_run
    from resight.models import verify_bundle
    from resight.models.lock import is_locked, signer, verify_lock

    is_pack = (path / PACK_FILE).is_file()
    folder = path if is_pack else bundle_folder(path)
    problems = verify_pack(folder) if is_pack else verify_bundle(folder)
    checked = "pack and figures" if is_pack else "bundle"
    locked = is_locked(folder)
    if locked or public_key is not None:
        problems += verify_lock(folder, public_key)
    if not is_pack and (path / "metrics.json").is_file():
        problems += verify_run(path)
        checked = "bundle and figures"
    if problems:
        for problem in problems[1:]:
            say(problem)
        raise BundleError(problems[0], where=str(path))
    if not locked:
        say("not signed: only accidental changes are found (resight lock)")
    elif public_key is None:
        say(f"signed by the key {signer(folder)}, which was not compared with one you trust (--public-key)")
    print(f"{checked} unchanged: {path}")
    return 0
