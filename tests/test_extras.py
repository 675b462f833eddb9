"""All extras are in one environment: every requirement of each is met, at the versions that are pinned together."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
APART = {"ct152"}
"""235 MB of weights, whose own requirements are not asked for: `resight` needs the file alone."""
TOGETHER = (
    *("flwr.app", "flwr.serverapp", "opacus", "ray.data", "fsspec", "fastapi", "uvicorn", "onnxruntime", "openvino"),
    *("pynetdicom", "highdicom", "psycopg", "sqlalchemy", "pyarrow", "cryptography", "nncf"),
)


def extras() -> list[str]:
    return sorted(set(metadata.metadata("resight").get_all("Provides-Extra") or ()) - APART)


def unmet(requirement: Requirement, seen: set[tuple[str, str]]) -> list[str]:
    """What a requirement, and all that it needs in turn, lacks here."""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return [f"{requirement} is not installed"]
    problems = []
    if not requirement.specifier.contains(found.version, prereleases=True):
        problems.append(f"{requirement} is asked for, {found.version} is here")
    for extra in sorted({"", *requirement.extras}):
        key = canonicalize_name(requirement.name), extra
        if key in seen:
            continue
        seen.add(key)
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                problems += [f"{requirement.name}: {one}" for one in unmet(needed, seen)]
    return problems


def test_every_requirement_of_every_extra_is_met_at_once() -> None:
    chosen = extras()
    assert {"federated", "cluster", "serve", "export", "clinic"} <= set(chosen)
    assert unmet(Requirement(f"resight[{','.join(chosen)}]"), set()) == []


def test_a_requirement_that_is_not_met_is_found() -> None:
    assert unmet(Requirement("numpy>=999"), set())[0].startswith("numpy>=999 is asked for, ")
    assert unmet(Requirement("no-such-package-anywhere"), set()) == ["no-such-package-anywhere is not installed"]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="constraints.txt pins what Python 3.11 needs")
def test_what_is_installed_for_the_extras_is_what_is_pinned() -> None:
    seen: set[tuple[str, str]] = set()
    unmet(Requirement(f"resight[{','.join(extras())}]"), seen)
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version.split()[0] for name, version in pinned.items()}
    needed = {name for name, _ in seen} - {
        "resight",
        "pip",
        "setuptools",
    }  # what comes with an environment is not pinned
    assert sorted(needed - pinned.keys()) == []
    here = {name: metadata.version(name).partition("+")[0] for name in needed}  # torch's +cpu is the same version
    assert here == {name: pinned[name] for name in needed}


@pytest.mark.slow
def test_the_engines_of_all_extras_are_imported_by_one_process() -> None:
    program = f"import importlib\nfor name in {TOGETHER!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
