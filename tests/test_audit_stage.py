"""CI's stage for vulnerabilities: it fails for one that is known, and says so where it could not ask."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

STAGE = Path(__file__).parents[1] / ".ci" / "audit"
CANARY = 'echo "jinja2 3.1.4 GHSA-q2x7-8rv6-6q7h 3.1.5"; exit 1'
CLEAN = 'echo "No known vulnerabilities found"; exit 0'
SKIPPED = 'echo "jinja2 Dependency not found on PyPI and could not be audited"; exit 0'
NO_NETWORK = 'echo "ConnectionError" >&2; exit 1'


def run_stage(folder: Path, canary: str, pinned: str, bill: str = "exit 0") -> subprocess.CompletedProcess[str]:
    """With programs of ours in the place of those that ask a service."""
    programs = {
        "cyclonedx-py": bill,
        "pip-audit": f'case "$2" in constraints.txt) {pinned};; *) {canary};; esac',
        "python": "exit 0",
    }
    (folder / "bin").mkdir()
    for name, text in programs.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    environment = {**os.environ, "VENV": str(folder)}
    return subprocess.run([STAGE], env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("canary", "pinned", "code", "said"),
    [
        (CANARY, CLEAN, 0, "No known vulnerabilities"),
        (CANARY, 'echo "torch 1.0 CVE-1"; exit 1', 1, "CVE-1"),
        (SKIPPED, CLEAN, 0, "skipped: the advisory service does not answer here"),
        (NO_NETWORK, NO_NETWORK, 0, "skipped: the advisory service does not answer here"),
    ],
    ids=["clean", "vulnerable", "service knows nothing", "no network"],
)
def test_it_fails_for_what_is_known_and_passes_only_where_it_asked(
    tmp_path: Path, canary: str, pinned: str, code: int, said: str
) -> None:
    done = run_stage(tmp_path, canary, pinned)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    assert ("skipped" in done.stdout) == ("skipped" in said)


def test_it_fails_without_a_bill_of_materials(tmp_path: Path) -> None:
    assert run_stage(tmp_path, CANARY, CLEAN, bill="exit 1").returncode == 1
