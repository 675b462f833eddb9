"""The description of the interface against the running service: schemathesis finds nothing, with and without rights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_processes import Served

pytestmark = pytest.mark.slow
EXAMPLES, MOST_S = 10, {"admin": 30, "service": 15}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = Served(tmp_path_factory.mktemp("interface"), limits={"upload_mb": 1, "parsers": 1})
    one.start()
    yield one
    one.stop()


@pytest.mark.parametrize("role", ["admin", "service"])
def test_what_the_description_allows_is_answered_as_it_says(served: Served, role: str) -> None:
    here = Path(__file__).parent
    options = ["--checks", "all", "--max-examples", str(EXAMPLES), "--max-time", str(MOST_S[role]), "--seed", "7"]
    options += ["--continue-on-failure", "--warnings", "off", "--no-color"]
    options += [part for name, value in served.token(role).items() for part in ("--header", f"{name}: {value}")]
    if role != "admin":
        options += ["--exclude-checks", "positive_data_acceptance"]  # a role that may not do everything is told so
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", served.url + "/api/openapi.json", *options],
        cwd=served.folder, env={**os.environ, "PYTHONPATH": str(here), "SCHEMATHESIS_HOOKS": "interface_hooks"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "Operations:       12 selected / 12 total" in done.stdout
    assert "Traceback" not in served.log.read_text(encoding="utf-8")
