"""A folder frozen by a signature: every file with its SHA-256 in one list, and the list signed with Ed25519 (RFC 8032).

    lock.json    files, time, public key
    lock.sig     signature of the bytes of lock.json, 64 bytes as hexadecimal digits

Checksums alone find accidents: who can write a folder can write new checksums. A signature can only be made by who
holds the private key. It says nothing to who does not know the public key from elsewhere, so keep that apart.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resight.errors import BundleError, OutputError, require, writing
from resight.models.checksums import changed_files, sha256
from resight.settings import write_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LOCK_FILE: Final = "lock.json"
SIGNATURE_FILE: Final = "lock.sig"
LOCK_FILES: Final = (LOCK_FILE, SIGNATURE_FILE)
_FORMAT: Final = 1


def new_key(path: Path) -> Path:
    """Make a key pair: the private key at `path`, readable by its owner only, and the public one beside it.

    Returns:
        The file with the public key, `path` with `.pub` added.

    Raises:
        OutputError: one of the files exists or cannot be written.
        DependencyError: `cryptography` is not installed.
    """
    require("cryptography", extra="evidence")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = path.with_name(f"{path.name}.pub")
    key = Ed25519PrivateKey.generate()
    try:
        for file, mode, text in (
            (path, 0o600, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
            (public, 0o644, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        ):
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(text)
    except FileExistsError as error:
        raise OutputError("exists already", where=str(error.filename), fix="Choose another name.") from error
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=str(path)) from error
    return public


def lock_folder(folder: Path, key: Path) -> str:
    """Freeze a folder: list every file in it and sign the list. A lock that is there is replaced.

    Args:
        folder: bundle or evidence pack.
        key: private key, PEM, not encrypted.

    Returns:
        Fingerprint of the public key.

    Raises:
        BundleError: the key cannot be used.
        OutputError: the lock cannot be written.
        DependencyError: `cryptography` is not installed.
    """
    secret = _private_key(key)
    public = _raw(secret.public_key())
    data = {
        "format_version": _FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "public_key": public,
        "files": {name: sha256(folder / name) for name in _files(folder)},
    }
    with writing(folder):
        write_json(folder / LOCK_FILE, data)
        signature = secret.sign((folder / LOCK_FILE).read_bytes()).hex()
        (folder / SIGNATURE_FILE).write_text(f"{signature}\n", encoding="ascii")
    return fingerprint(public)


def is_locked(folder: Path) -> bool:
    """Whether a folder has a lock, whole or in part."""
    return any((folder / name).exists() for name in LOCK_FILES)


def verify_lock(folder: Path, public_key: Path | None = None) -> list[str]:
    """Everything that is wrong with a locked folder, one clause each; empty when nothing is.

    Args:
        folder: with `lock.json` and `lock.sig`.
        public_key: the key that must have signed, PEM; without it, the key that the lock names is believed, which
            finds every change but not a new lock by somebody else.

    Raises:
        BundleError: `public_key` cannot be read.
        DependencyError: `cryptography` is not installed.
    """
    trusted = None if public_key is None else _raw(_public_key(public_key))
    try:
        text = (folder / LOCK_FILE).read_bytes()
        signature = (folder / SIGNATURE_FILE).read_bytes()
        data: Any = json.loads(text)
        named, files = str(data["public_key"]), dict(data["files"])
        signed = bytes.fromhex(signature.decode("ascii").strip())
        if signature != f"{signed.hex()}\n".encode():
            return [f"{SIGNATURE_FILE} was changed"]
        if trusted is not None and named != trusted:
            return [f"signed by the key {fingerprint(named)}, not by {fingerprint(trusted)}"]
        if not _signed_by(named, signed, text):
            return [f"{LOCK_FILE} or {SIGNATURE_FILE} was changed: the signature does not fit"]
    except OSError as error:
        return [f"{Path(str(error.filename)).name} cannot be read ({error.strerror})"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{LOCK_FILE} or {SIGNATURE_FILE} was changed ({error})"]
    unnamed = [f"{name} is not named in {LOCK_FILE}" for name in _files(folder) if name not in files]
    return changed_files(folder, files) + unnamed


def signer(folder: Path) -> str:
    """Fingerprint of the key that a lock names."""
    return fingerprint(str(json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))["public_key"]))


def fingerprint(public_key: str) -> str:
    """The first 16 digits of a public key: short enough to read out, long enough to tell keys apart."""
    return public_key[:16]


def _files(folder: Path) -> list[str]:
    """Every file below a folder but the lock itself, POSIX names, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) not in LOCK_FILES)


def _private_key(path: Path) -> Ed25519PrivateKey:
    require("cryptography", extra="evidence")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError("is no Ed25519 key", where=str(path), fix="Make one with: resight lock --new-key FILE")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    require("cryptography", extra="evidence")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, error) from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError("is no public Ed25519 key", where=str(path))
    return key


def _unusable(path: Path, error: Exception) -> BundleError:
    reason = getattr(error, "strerror", None) or "not an unencrypted key in PEM"
    return BundleError(f"cannot be used as a key ({reason})", where=str(path))


def _raw(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()


def _signed_by(public_key: str, signature: bytes, text: bytes) -> bool:
    require("cryptography", extra="evidence")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, text)
    except InvalidSignature:
        return False
    return True
