"""A signed bundle: every changed byte, every file more or less, and every other key is found."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from resight.errors import BundleError, OutputError
from resight.models import verify_bundle
from resight.models.lock import is_locked, lock_folder, new_key, signer, verify_lock
from resight.settings import write_json

pytest.importorskip("cryptography", reason="the extra `evidence` is not installed")
GOLDEN = Path(__file__).parents[1] / "golden" / "bundle_v1"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def test_a_locked_bundle_is_unchanged(bundle, key):
    assert not is_locked(bundle)
    found = lock_folder(bundle, key)
    assert is_locked(bundle)
    assert signer(bundle) == found
    assert verify_lock(bundle) == verify_lock(bundle, public(key)) == []
    assert verify_bundle(bundle) == []


def test_every_byte_of_small_files_and_some_of_large_ones_matter(bundle, key):
    lock_folder(bundle, key)
    for path in (path for path in sorted(bundle.rglob("*")) if path.is_file()):
        untouched = path.read_bytes()
        step = max(len(untouched) // 40, 1)
        for place in {*range(0, len(untouched), step), len(untouched) - 1}:
            data = bytearray(untouched)
            data[place] ^= 0x01
            path.write_bytes(bytes(data))
            assert verify_lock(bundle, public(key)), (path.name, place)
        path.write_bytes(untouched)
    assert verify_lock(bundle, public(key)) == []


def test_files_that_come_or_go_are_found(bundle, key):
    lock_folder(bundle, key)
    (bundle / "engines").mkdir()
    (bundle / "engines" / "x.bin").write_bytes(b"x")
    assert verify_lock(bundle) == ["engines/x.bin is not named in lock.json"]
    (bundle / "engines" / "x.bin").unlink()
    (bundle / "card.md").unlink()
    assert verify_lock(bundle) == ["card.md is missing"]


def test_new_checksums_without_the_key_are_found(bundle, key):
    lock_folder(bundle, key)
    (bundle / "card.md").write_text("better")
    signature = (bundle / "lock.sig").read_text()
    lock_folder(bundle, key)
    assert verify_lock(bundle, public(key)) == []  # who has the key may
    (bundle / "lock.sig").write_text(signature)
    assert "the signature does not fit" in verify_lock(bundle)[0]


def test_another_key_is_told_from_the_trusted_one(bundle, key, tmp_path):
    new_key(tmp_path / "other.pem")
    lock_folder(bundle, tmp_path / "other.pem")
    assert verify_lock(bundle) == []
    assert "signed by the key" in verify_lock(bundle, public(key))[0]


def test_a_lock_that_is_gone_or_nonsense_is_found(bundle, key):
    assert verify_lock(bundle, public(key)) == ["lock.json cannot be read (No such file or directory)"]
    lock_folder(bundle, key)
    write_json(bundle / "lock.json", ["nonsense"])
    assert "was changed" in verify_lock(bundle)[0]
    (bundle / "lock.json").write_bytes(b"\xff\xfe")
    assert "was changed" in verify_lock(bundle)[0]


def test_keys_are_private_and_never_replaced(key):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        new_key(key)
    assert key.read_bytes() == before


def test_what_is_no_key_is_refused_in_one_line(bundle, key, tmp_path):
    (tmp_path / "text").write_text("no key")
    for wrong in (tmp_path / "text", tmp_path / "absent", public(key)):
        with pytest.raises(BundleError, match="cannot be used as a key"):
            lock_folder(bundle, wrong)
    assert not is_locked(bundle)
    lock_folder(bundle, key)
    with pytest.raises(BundleError, match="cannot be used as a key"):
        verify_lock(bundle, key)
