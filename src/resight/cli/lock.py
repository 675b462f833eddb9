"""`resight lock`: sign a bundle or an evidence pack."""

from __future__ import annotations

from pathlib import Path

from resight.cli.console import say


def lock(path: Path | None = None, *, key: Path | None = None, new_key: Path | None = None) -> int:
    """Sign a bundle or an evidence pack, so that no change goes unnoticed.

    Args:
        path: bundle, run folder (its bundle is signed), or evidence pack.
        key: private key to sign with.
        new_key: first make a key pair there: the private key, and the public one with `.pub` added.
    """
    from resight.cli.predict import bundle_folder
    from resight.errors import BundleError, SettingsError
    from resight.experiments.pack import PACK_FILE, verify_pack
    from resight.models import verify_bundle
    from resight.models.lock import lock_folder
    from resight.models.lock import new_key as make_key

    if new_key is not None:
        say(f"keep {new_key} secret; give {make_key(new_key)} to who verifies")
    secret = key or new_key
    if path is None:
        if new_key is None:
            raise SettingsError("nothing to sign", where="command line", fix="Name a bundle, or give --new-key.")
        return 0
    if secret is None:
        raise SettingsError("no key", where="command line", fix="Give --key FILE, or --new-key FILE.")
    is_pack = (path / PACK_FILE).is_file()
    folder = path if is_pack else bundle_folder(path)
    if problems := verify_pack(folder) if is_pack else verify_bundle(folder):
        raise BundleError(problems[0], where=str(folder), fix="Only what is unchanged is signed.")
    print(f"locked: {folder}, key {lock_folder(folder, secret)}")
    return 0
